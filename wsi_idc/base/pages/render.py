"""Pages made of the templates beside this module: one HTML file each, that asks no other for anything."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: Any) -> str:
    """Fill a template; every value is text and is escaped, whatever it holds.

    Raises jinja2.UndefinedError where the template asks for a value that is not given.
    """
    return _environment().get_template(template).render(values)


def data_uri(data: bytes, kind: str) -> str:
    """Return bytes of a media type, such as "image/png", as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


@cache
def _environment() -> Environment:
    # Loaded when a page is written: commands that write none do without.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
