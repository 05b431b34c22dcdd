"""JSON of this tool, read back: within bounds, of numbers that are ones, and checked by its schema."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsi_idc.base.inputs.bounded import read_bytes

# Digits of the largest whole number; more would be no float either.
_DIGITS = 19
# Of what is wrong, as much is said.
_LONGEST = 200
# Bytes that a document may take once it is parsed, about, and what takes them: a value, a list, an object.
MOST_WEIGHT = 192 << 20
_WEIGHTS = {",": 64, "[": 64, "{": 250}


def read_json(path: Path, most: int, schema: Mapping[str, Any] | None = None) -> Any:
    """Read JSON of at most `most` bytes, as `parse_json` does; raises OSError where the file cannot be read."""
    return parse_json(read_bytes(path, most), schema)


def parse_json(content: bytes | str, schema: Mapping[str, Any] | None = None) -> Any:
    """Parse JSON whose numbers are finite; with a `schema` (JSON Schema 2020-12) it is as that says.

    Raises ValueError, which says in a phrase where and why it is not.
    """
    check_weight(content)
    try:
        document = json.loads(content, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
        return document if schema is None else checked(document, schema)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def check_weight(content: bytes | str, most: int = MOST_WEIGHT) -> None:
    """Raise ValueError where JSON has so many values that, parsed, they would take more than about `most` bytes."""
    counts = {c: content.count(c) if isinstance(content, str) else content.count(c.encode()) for c in _WEIGHTS}
    if sum(count * _WEIGHTS[c] for c, count in counts.items()) > most:
        raise ValueError(f"holds {sum(counts.values()):,} values, more than anything that is read here")


def checked(document: Any, schema: Mapping[str, Any]) -> Any:
    """Return a document that is as its schema says; raises ValueError, which names the first fault."""
    import jsonschema

    # Not `jsonschema.validate`, which looks first, each time, whether the schema itself is one.
    validator = jsonschema.Draft202012Validator(schema)
    if fault := jsonschema.exceptions.best_match(validator.iter_errors(document)):
        text = " ".join(f"{fault.json_path}: {fault.message}".split())
        raise ValueError(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
    return document


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number")
    return number
