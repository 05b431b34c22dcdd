"""Names and reasons that come from files, as they may be shown: no codes of a terminal, no formulas of a spreadsheet.

What is shown on a page is escaped by its template (`pages/render`).
"""

from __future__ import annotations

import logging
import math
import re

# What a terminal takes for more than a character: control codes but for ends of lines and tabs, those of 8 bits, and
# what turns the direction of writing. Halves of surrogates stand for bytes of names that are not UTF-8.
_CODES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a text as it may be printed: codes as they are written in Python, what is not UTF-8 as U+FFFD."""
    return _SURROGATES.sub("\ufffd", _CODES.sub(_written, text))


def whole(text: str) -> str:
    r"""Return a text that can be written as UTF-8: halves of surrogates, as of "\ud800" in JSON, become U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _written(code: re.Match[str]) -> str:
    return code[0].encode("unicode_escape").decode("ascii")


def shown_record(record: logging.LogRecord) -> bool:
    """Make the message of a record printable; a filter for handlers of logs, which keeps all of them."""
    record.msg, record.args = printable(record.getMessage()), ()
    return True


def no_formula(text: str) -> str:
    """Return the text of a cell, marked where a spreadsheet would take it for a formula; see `with_formula`."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "'")) and not is_number(text) else text


def with_formula(text: str) -> str:
    """Return what `no_formula` was given."""
    return text.removeprefix("'")


def cells(row: dict[str, object]) -> dict[str, object]:
    """Return a row of a table with all texts in it marked by `no_formula`."""
    return {name: no_formula(value) if isinstance(value, str) else value for name, value in row.items()}


def is_number(text: str) -> bool:
    """Say whether a cell holds a number, or nothing."""
    try:
        return not text or math.isfinite(float(text))
    except ValueError:
        return False
