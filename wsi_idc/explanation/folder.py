"""The folder of an explanation: pictures and explain.json, whole or not at all, in the place of another if asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsi_idc.base.disk.folders import in_place_of, new_folder
from wsi_idc.base.inputs.bounded import read_bytes
from wsi_idc.base.inputs.documents import parse_json
from wsi_idc.errors import OutputError

DOCUMENT = "explain.json"
_LARGEST = 1 << 28  # bytes of a document


def write_document(place: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Write what is known beside the pictures, and return it."""
    (place / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")
    return document


@contextmanager
def explained_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """Give a place to write to, which becomes `output` as a whole; with `overwrite` in place of another explanation.

    Raises OutputError where there is something that is not to be overwritten, or no explanation.
    """
    there = output.is_dir() and any(output.iterdir())
    if not there:
        with new_folder(output) as place:
            yield place
        return
    if not overwrite:
        raise OutputError(f"{output}: is not empty; choose another -o or give --overwrite")
    if others := sorted({file.name for file in output.iterdir()} - _of_explanation(output)):
        raise OutputError(f"{output}: holds {others[0]}, which wsi-idc explain did not write; choose another -o")
    with in_place_of(output) as place:
        yield place


def _of_explanation(folder: Path) -> set[str]:
    """Return the names of the files that the explain.json of a folder says are of it; none where there is none."""
    try:
        document = parse_json(read_bytes(folder / DOCUMENT, _LARGEST))
        parts = [*document.get("patches", ()), *document.get("sheets", ())]
        return {DOCUMENT, *(part["picture"] for part in parts if part["picture"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
