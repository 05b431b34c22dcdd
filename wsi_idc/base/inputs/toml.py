"""TOML that others wrote, read within bounds: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from wsi_idc.base.inputs.bounded import read_bytes

# Configurations take a few kB.
_LARGEST = 1 << 18
# Tables within tables, by a dotted name; a configuration has three.
_DEEPEST = 32
# A name of more parts than that: for each of them the parser keeps all those before it.
_LONG_NAME = re.compile(
    r"""(?<![\w\\-])(?:(?:[\w-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*\.[ \t]*){%d}""" % _DEEPEST  # noqa: UP031
)
# A whole number that no float can hold breaks whatever reckons with it.
_FARTHEST = 10**300


def read_toml_file(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises OSError where it cannot be read or is far too large, ValueError where it is none."""
    return parse_toml(read_bytes(path, _LARGEST).decode("utf-8"))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML; raises ValueError where it is none, is far too long, nested too deeply, or has a larger number."""
    if len(text) > _LARGEST:
        raise ValueError(f"longer than the {_LARGEST >> 10} KiB that a configuration may have")
    if _LONG_NAME.search(text):
        raise ValueError("nested too deeply")
    try:
        found = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    floor: list[Any] = [found]
    for _ in range(_DEEPEST):
        if any(isinstance(v, int) and abs(v) > _FARTHEST for v in floor):
            raise ValueError("a whole number of more than 300 digits")
        inside = [v.values() if isinstance(v, dict) else v for v in floor if isinstance(v, dict | list)]
        floor = [v for values in inside for v in values]
        if not floor:
            return found
    raise ValueError("nested too deeply")
