"""Lists of slides: a path on each line, or a table that gives the scale and the name of each."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from wsi_idc.base.inputs.bounded import read_lines
from wsi_idc.errors import DataError
from wsi_idc.slides.paths.address import SlideAddress
from wsi_idc.slides.scale import PLAUSIBLE_MPP

# Bytes: a hundred thousand long paths.
_LARGEST = 1 << 25
_COLUMNS = ("path", "mpp", "name")
# What a name may not hold, since a folder is called by it.
_FORBIDDEN = set('/\\:*?"<>|\n\r\t')


def read_list(path: Path) -> list[str]:
    """Read a file that names a slide, folder or pattern on each line; empty lines and those that begin with # are none.

    Where the first line is the head of a table, with a column `path` and perhaps `mpp` (um per pixel) and `name` (of
    the folder of results), separated by commas, semicolons or tabs, the slides are addresses with what it says of
    them. Relative paths are from the folder of the file. Raises DataError where it is missing, no text, names nothing,
    or says what cannot be meant.
    """
    try:
        # Names of files need not be valid UTF-8; some editors begin a file with a byte order mark.
        read = read_lines(path, _LARGEST, errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: the list of slides cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: not a list of slides, it {error}; save it as plain text in UTF-8") from error
    if any("\0" in line for line in read):
        raise DataError(f"{path}: not a list of slides; save it as plain text in UTF-8")
    lines = [line for raw in read if (line := raw.strip()) and not line.startswith("#")]
    separator = _separator(lines[0]) if lines else None
    if lines and separator is None and {"mpp", "name"} & set(re.split(r"\s*[,;\t]\s*", lines[0].lower())):
        raise DataError(f"{path}: the first line looks like the head of a table, but names no column path; add it")
    slides = list(_table(path, lines, separator)) if separator else [str(path.parent / line) for line in lines]
    if not slides:
        raise DataError(f"{path}: the list names no slides; write one path on each line")
    return slides


def _separator(head: str) -> str | None:
    """Return what separates the columns of a table, or None where a line is no head of one but a path."""
    for separator in ",;\t":
        names = [name.strip().strip('"').lower() for name in head.split(separator)]
        if "path" in names and (len(names) > 1 or head.lower() == "path"):
            return separator
    return None


def _table(path: Path, lines: list[str], separator: str) -> Iterator[str]:
    """Give the addresses that the rows of a table name."""
    rows = csv.DictReader(lines, delimiter=separator, restkey="", restval="", skipinitialspace=True)
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
    names: set[str] = set()
    # By what they lead to: a path may be written in several ways, and a link is another name.
    seen: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows, 1):
        values = {column: (row.get(column) or "").strip() for column in _COLUMNS}
        if "" in row or not values["path"]:
            raise DataError(f"{path}: row {number} of the list has no path, or more columns than its head; mend it")
        first, before = seen.setdefault(os.path.realpath(path.parent / values["path"]), (number, values["path"]))
        if first != number:
            raise DataError(
                f"{path}: row {number} of the list names {values['path']} again, which row {first} does as {before}; "
                "keep one of the two"
            )
        name = values["name"] or None
        if name and (name in names or name.startswith(".") or _FORBIDDEN & set(name)):
            raise DataError(f"{path}: row {number}: {name!r} cannot name a folder of its own; give another name")
        names |= {name} if name else set()
        yield str(SlideAddress(path.parent / values["path"], None, _mpp(path, number, values), name).path)


def _mpp(path: Path, number: int, values: Mapping[str, str]) -> float | None:
    if not values["mpp"]:
        return None
    low, high = PLAUSIBLE_MPP
    try:
        mpp = float(values["mpp"].replace(",", "."))
    except ValueError:
        mpp = 0.0
    if not low <= mpp <= high:
        raise DataError(f"{path}: row {number}: mpp {values['mpp']!r} is not a scale of {low} to {high} um per pixel")
    return mpp
