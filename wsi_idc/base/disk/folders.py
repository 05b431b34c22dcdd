"""Folders that appear whole or not at all: new ones, and those that replace one that is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from wsi_idc.base.disk.left import temporary_folder
from wsi_idc.base.disk.trouble import output_error
from wsi_idc.errors import OutputError, WsiIdcError


@contextmanager
def new_folder(folder: Path, overwrite: bool = False, written: Sequence[str] = ()) -> Iterator[Path]:
    """Give a place to write files to; on leaving without an error they are what `folder` holds, else nothing is left.

    With `overwrite` the folder may hold what was `written` there before, files by the patterns of their names, and
    nothing but that: it is replaced as a whole. Raises OutputError at once, so before what takes long, where the folder
    is neither new nor empty nor to be replaced, or where it cannot be written; and where what is written to the place
    cannot be.
    """
    try:
        there = folder.exists()
        names = [held.name for held in folder.iterdir()] if there else []
    except OSError as error:
        raise output_error(folder, error) from error
    if names:
        if not overwrite:
            way_out = " or give --overwrite" if written else ""
            raise OutputError(f"{folder}: is not empty; choose another -o{way_out}")
        _check_own(folder, names, written)
        with in_place_of(folder) as place:
            yield place
        return
    with _place_for(folder, folder if there else folder.parent, folder.name) as place:
        yield place
        if there:
            # One by one: nothing can be renamed to a link, a mounted disk, or the folder that one stands in.
            for made in place.iterdir():
                made.rename(folder / made.name)
        else:
            place.rename(folder)


@contextmanager
def in_place_of(folder: Path) -> Iterator[Path]:
    """Give a place to write files to; on leaving without an error it is `folder`, in place of the one that is there.

    Raises OutputError where that cannot be done, at once of a mounted disk and of the folder that one stands in, whose
    relative paths would lead into the old one.
    """
    # What a link leads to, not the link.
    real = folder.resolve()
    if real.is_mount():
        raise OutputError(f"{folder}: is a disk of its own, which cannot be replaced; choose a folder in it")
    if Path.cwd().is_relative_to(real):
        raise OutputError(
            f"{folder}: is the folder that you stand in; replace it from another one, or choose another -o"
        )
    with _place_for(folder, real.parent, real.name) as place:
        yield place
        real.rename(place.parent / "old")
        place.rename(real)


@contextmanager
def _place_for(folder: Path, beside: Path, name: str) -> Iterator[Path]:
    """Give a place within `beside`, of a name that tells of `name`; what is left in it is removed.

    What goes wrong with making it or with writing to it is an OutputError of the folder that it becomes.
    """
    try:
        beside.mkdir(parents=True, exist_ok=True)
        temporary = temporary_folder(beside, name)
    except OSError as error:
        raise output_error(folder, error) from error
    with temporary as held:
        place = Path(held) / "new"
        place.mkdir()
        try:
            yield place
        except OSError as error:
            # Not what was meanwhile read from elsewhere; that a disk is full names no file.
            elsewhere = error.filename is not None and not Path(error.filename).is_relative_to(place)
            if elsewhere or isinstance(error, WsiIdcError):
                raise
            raise output_error(folder, error) from error


def _check_own(folder: Path, names: Iterable[str], written: Sequence[str]) -> None:
    """Raise OutputError where a folder that is to be overwritten holds something that was not written there before."""
    if others := sorted(name for name in names if not any(fnmatchcase(name, pattern) for pattern in written)):
        raise OutputError(f"{folder}: holds {others[0]}, which would be lost; choose another -o, or move it away")
