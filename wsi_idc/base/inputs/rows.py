"""Tables (CSV) read row by row, in the memory of one row, however many there are."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from io import BufferedReader
from itertools import chain, pairwise


def sum_of(stream: BufferedReader) -> str:
    """Return the sha256 of an open file, which is at its beginning again then."""
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(0)
    return digest


def rows_of(stream: BufferedReader) -> Iterator[list[str]]:
    """Yield the rows of a table, its header first, and an empty one for a last row that was cut short.

    Lines with nothing in them are left out. Names of files need not be valid UTF-8: what is not is kept as os.fsdecode
    keeps it. Raises csv.Error where a row cannot be told from the next.
    """
    ended = not stream.seek(0, os.SEEK_END) or (stream.seek(-1, os.SEEK_END), stream.read(1))[1] == b"\n"
    stream.seek(0)
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
    rows = filter(None, csv.reader(text))
    yield next(rows, [])
    for row, following in pairwise(chain(rows, [None])):
        if row is not None:
            yield row if following is not None or ended else []
