"""A folder of results that must be new, and that appears whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsi_idc.errors import OutputError
from wsi_idc.runs.folder import output_error


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """Give a place to write files to; on leaving without an error they are what `folder` holds, else nothing is left.

    Raises OutputError at once, so before what takes long, where the folder is neither new nor empty, or where it cannot
    be written.
    """
    try:
        there = folder.exists()
        if there and any(folder.iterdir()):
            raise OutputError(f"{folder}: is not empty; choose another -o")
        beside = folder if there else folder.parent
        beside.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=beside, prefix=f".{folder.name}-")
    except OSError as error:
        raise output_error(folder, error) from error
    with temporary as held:
        place = Path(held) / "new"
        place.mkdir()
        yield place
        try:
            if there:
                # One by one: nothing can be renamed to a link, a mounted disk, or the folder that one stands in.
                for made in place.iterdir():
                    made.rename(folder / made.name)
            else:
                place.rename(folder)
        except OSError as error:
            raise output_error(folder, error) from error
