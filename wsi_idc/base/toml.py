"""TOML that others wrote, read within bounds: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

# Configurations take a few kB.
_LARGEST = 1 << 20


def read_toml_file(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises OSError where it cannot be read, ValueError where it is none, or far too large."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("no regular file")
    with path.open("rb") as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"more than {_LARGEST >> 10} kB")
    return parse_toml(content.decode("utf-8"))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML; raises ValueError where it is none, or nested more deeply than can be read."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
