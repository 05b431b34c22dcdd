"""From what was sent to a slide: a slide file as it is, a picture as a slide without a scale, a zip unpacked."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from wsi_idc.base.disk.trouble import output_error, said_bytes
from wsi_idc.base.inputs.picture import read_rgb
from wsi_idc.errors import DataError, ScaleError, SlideError
from wsi_idc.serve.place import Place, label
from wsi_idc.slides.paths.find import SUFFIXES, find_slides
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.write import write_slide

# How files begin that are pictures, or zip archives.
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_ZIP = b"PK\x03\x04"
# Pixels of a picture: it is decoded as a whole.
_MOST_PIXELS = 100_000_000
# What a zip unpacks to: files, folders within folders, and bytes, for each that it has, once it is not small.
_MOST_FILES, _DEEPEST, _MOST_TIMES, _SMALL = 10_000, 12, 100, 100 << 20
_LONGEST_NAME = 200
_LINK, _KIND = 0o120000, 0o170000
_PIECE = 1 << 20
_NO_SCALE = (
    "it states no scale, and without one nothing in it can be measured; say how many µm a pixel has (0.25 for a scan "
    "at 40x, 0.5 at 20x), and start it again"
)


def take_in(place: Place, name: str, mpp: float | None, most_bytes: int) -> Path:
    """Make a slide of what was sent under a name, and return it; one that was made before is taken as it is.

    What is made holds no scale that its sender said: that may be said anew. `mpp` is used to see that it can be opened.
    Raises DataError or SlideError, which say in words why it is none.
    """
    slide = place.slide()
    if slide is None:
        shutil.rmtree(place.slides, ignore_errors=True)
        place.slides.mkdir()
        slide = _made(place, name, most_bytes)
        _check(slide, name, mpp)
        place.keep_slide(slide)
        place.upload.unlink(missing_ok=True)
    return slide


def _made(place: Place, name: str, most_bytes: int) -> Path:
    called = label(name)
    with place.upload.open("rb") as stream:
        begins = stream.read(8)
    if begins.startswith(_ZIP):
        unpack(place.upload, folder := place.slides / called, most_bytes)
        return _only_slide(folder)
    if begins.startswith(_PICTURES):
        return _of_picture(place.upload, place.slides / f"{called}.tif")
    suffix = PurePosixPath(name).suffix.lower()
    slide = place.slides / f"{called}{suffix if suffix in SUFFIXES else '.tif'}"
    try:
        # A second name of the same file: the upload stays until all is well.
        slide.hardlink_to(place.upload)
    except OSError:
        shutil.copyfile(place.upload, slide)
    return slide


def _check(slide: Path, name: str, mpp: float | None) -> None:
    """Open a slide; raises SlideError, which says why it cannot be, without telling where it lies."""
    try:
        with Slide(slide, mpp):
            pass
    except ScaleError as error:
        if mpp is None:
            raise DataError(_NO_SCALE) from error
        raise
    except SlideError as error:
        why = str(error).replace(f"{slide}: ", "").replace(str(slide), name)
        raise SlideError(f"it is no slide that can be read, or a damaged one: {why}") from error


def _of_picture(upload: Path, slide: Path) -> Path:
    try:
        pixels = read_rgb(upload, _MOST_PIXELS)
    except (OSError, ValueError) as error:
        raise DataError(f"it is a picture that cannot be read: {error}") from error
    fits = [d for d in (1, 4, 16) if d == 1 or min(pixels.shape[:2]) >= 16 * d]
    return write_slide(slide, pixels, None, downsamples=fits, compression="deflate")


def _only_slide(folder: Path) -> Path:
    try:
        found = find_slides([folder], recursive=True)
    except DataError as error:
        raise DataError("the zip holds no slide that is known here; a picture is sent as it is") from error
    if len(found) > 1:
        raise DataError(f"the zip holds {len(found)} slides; send each in a zip of its own")
    return found[0]


def unpack(archive: Path, folder: Path, most_bytes: int) -> None:
    """Unpack a zip archive into a new folder, and nowhere else: plain files, within bounds, as many bytes as it says.

    Raises DataError, which says in words why it is not unpacked.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            _check_size(entries, archive.stat().st_size, most_bytes)
            places = [_place(entry) for entry in entries]
            if len(set(places)) < len(places):
                raise DataError("the zip has two files of one name")
            for entry, place in zip(entries, places, strict=True):
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                _unpack_file(opened, entry, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OverflowError) as error:
        raise DataError(f"it is a damaged zip, or packed in a way that is not known here ({error})") from error
    except OSError as error:
        raise output_error(folder, error) from error


def _check_size(entries: list[zipfile.ZipInfo], packed: int, most_bytes: int) -> None:
    size = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_FILES:
        raise DataError(f"the zip holds {len(entries):,} files; a slide has at most {_MOST_FILES:,}")
    if size > most_bytes or size > max(_SMALL, _MOST_TIMES * packed):
        raise DataError(f"the zip of {said_bytes(packed)} unpacks to {said_bytes(size)}, which no slide does")
    if not entries:
        raise DataError("the zip is empty")


def _place(entry: zipfile.ZipInfo) -> PurePosixPath:
    """Return where a file of an archive goes; raises DataError where that is no plain name within a folder."""
    name = entry.filename
    shown = repr(name if len(name) <= 60 else f"{name[:60]}...")
    parts = name.split("/")
    unsafe = any(part in ("", ".", "..") or len(part.encode("utf-8", "replace")) > _LONGEST_NAME for part in parts)
    if unsafe or len(parts) > _DEEPEST or any(c in "\\:" or not c.isprintable() for c in name):
        raise DataError(f"the zip holds {shown}, a path that leads out of it or is none")
    if (entry.external_attr >> 16) & _KIND == _LINK:
        raise DataError(f"the zip holds {shown}, a link, which is not followed here; zip the files themselves")
    if entry.flag_bits & 1:
        raise DataError("the zip is encrypted; send it without a password")
    return PurePosixPath(name)


def _unpack_file(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    # Never over another file; and no more than it says, which was looked at before.
    left = entry.file_size
    with archive.open(entry) as source, target.open("xb") as file:
        while piece := source.read(min(_PIECE, left + 1)):
            left -= len(piece)
            if left < 0:
                raise DataError("the zip unpacks to more than it says")
            file.write(piece)
    if left:
        raise DataError("the zip unpacks to less than it says")
