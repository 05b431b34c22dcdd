"""Open a slide file: find the image in it that is the slide, and the fastest reader that takes it."""

from __future__ import annotations

import logging
import re
import struct
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_idc.errors import SlideError
from wsi_idc.slides.content import FASTSLIDE
from wsi_idc.slides.dicom import check_headers, is_dicom, level_downsamples, slide_headers
from wsi_idc.slides.fastslide_reader import FastSlideFile, FastSlideReader
from wsi_idc.slides.ngff.images import read_images
from wsi_idc.slides.ngff.reader import NgffReader
from wsi_idc.slides.openslide_reader import OpenSlideReader
from wsi_idc.slides.reader import Reader
from wsi_idc.slides.tiff.images import StoredImage, choose, ome_images, plain_images, role, warnings_of
from wsi_idc.slides.tiff.jpeg_tiles import open_jpeg_tiles
from wsi_idc.slides.tiff.ome import is_ome_xml, read_ome
from wsi_idc.slides.tiff.pages import Page, Place, check_table, is_tiff, read_pages, walk
from wsi_idc.slides.tiff.reader import TiffReader
from wsi_idc.slides.tiff.scn import joined, overlapping, scn_images

if TYPE_CHECKING:
    import tifffile

# The tag that every image of theirs has.
_OF_HAMAMATSU = 65420
# Vendors whose levels OpenSlide takes from any tiled page; of others it knows what is a level.
_PLAIN = ("aperio", "generic-tiff")
# How OpenSlide and libtiff say that a file is whole, but of a kind that they do not read.
_DECLINED = re.compile(r"unsupported|not supported|can't handle|not configured|not compiled", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Opened:
    """A slide file that is open: what reads it, the images that it holds, which of them, and what to warn of.

    There are no images where the format is one that OpenSlide knows to hold one slide. Several scans may be `joined`
    into the slide, each at its place on the glass.
    """

    reader: Reader
    images: tuple[StoredImage, ...] = ()
    chosen: int = 0
    warnings: tuple[str, ...] = ()
    joined: tuple[int, ...] = ()


def describe_images(opened: Opened) -> list[dict[str, Any]]:
    """Return number, name, size in pixels, stated um/px and role of each image of a file that may hold several.

    The role is slide, part of the slide, scan, photo, label, macro, thumbnail or the like, or no level, where it is
    marked as a smaller copy and is none.
    """
    parts = opened.joined if len(opened.joined) > 1 else ()
    chosen = opened.images[opened.chosen] if opened.images else None
    return [
        {
            "number": number,
            "name": image.name,
            "width": image.page.shape.width,
            "height": image.page.shape.height,
            "mpp": image.shape.mpp[0] if image.shape.mpp else None,
            "role": "part of the slide" if number in parts else "slide" if image is chosen else role(image, chosen),
        }
        for number, image in enumerate(opened.images)
        if chosen is not None
    ]


@dataclass(frozen=True, slots=True)
class _Tiff:
    """An open TIFF and its pages, as tifffile has them."""

    path: Path
    file: Any
    pages: dict[Place, Any]


def open_file(path: Path, series: int | None = None) -> Opened:
    """Open a slide file or OME-Zarr store, and of several images in it the slide, or that of number `series`, from 0.

    Raises SlideError with the reason where no reader takes it.
    """
    if path.is_dir():
        return _open_store(path, series)
    # Before TIFF: a VSI file is one, of a small photo of the glass.
    if path.suffix.lower() in FASTSLIDE:
        return _open_by_fastslide(path, series)
    if is_tiff(path):
        return _open_tiff(path, series)
    import openslide

    if zipfile.is_zipfile(path):
        raise SlideError(
            f"{path}: is a zip archive; unpack it, and give the slide, or folder of OME-Zarr, that is in it"
        )
    headers = slide_headers(path) if is_dicom(path) else []
    check_headers(headers)
    try:
        reader = OpenSlideReader(path)
        _only_one(path, series)
    except openslide.OpenSlideUnsupportedFormatError as error:
        advice = "; wsi-idc predict takes pictures" if path.suffix.lower() in (".jpeg", ".jpg", ".png") else ""
        said = f"not a slide that OpenSlide or tifffile can read ({_reason(path, error)}){advice}"
        raise SlideError(f"{path}: {said}") from error
    except openslide.OpenSlideError as error:
        if path.suffix.lower() == ".czi":
            return _open_declined(path, series, _reason(path, error))
        advice = "" if "nsupported" in str(error) else "; is the file whole?"
        raise SlideError(f"{path}: OpenSlide cannot open it ({_reason(path, error)}){advice}") from error
    if headers:
        reader.correct(level_downsamples(headers, [(v.width, v.height) for v in reader.levels]))
    return Opened(reader)


def _open_tiff(path: Path, series: int | None) -> Opened:
    # What it makes of a damaged header it writes to the terminal else; where the slide is refused, that is said.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    try:
        file = _tiff_of(path)
    except Exception as error:
        raise SlideError(f"{path}: not a slide that OpenSlide or tifffile can read ({error})") from error
    reader: OpenSlideReader | str = ""
    opened, raw = None, {}
    try:
        raw = dict(walk(file))
        if (0,) not in raw:
            raise SlideError(f"{path}: holds no image; is the file whole?")
        pages = read_pages(path, raw)
        reader = _open_vendor(path)
        images = _images(path, raw[0,].description, pages)
        opened = _open_whole(path, images, series, reader) if isinstance(reader, OpenSlideReader) else None
        if opened is None:
            opened = _open_image(_Tiff(path, file, raw), images, series, reader)
        return opened
    except SlideError:
        raise
    except Exception as error:
        # Whatever a damaged file makes of the parser: ValueError, KeyError, ZeroDivisionError, MemoryError, ...
        raise SlideError(f"{path}: damaged or unusual TIFF ({type(error).__name__}: {error})") from error
    finally:
        by_tifffile = opened is not None and isinstance(opened.reader, TiffReader)
        if isinstance(reader, OpenSlideReader) and (opened is None or by_tifffile):
            reader.close()
        if not by_tifffile:
            file.close()
            # File and pages hold each other: else the offsets, as Python's numbers, would stay for long.
            del file.pages, raw


def _tiff_of(path: Path) -> tifffile.TiffFile:
    """Open a TIFF by what it holds: tifffile takes one for Hamamatsu's, whose offsets are longer, by its name alone."""
    import tifffile

    file = tifffile.TiffFile(path)
    if path.suffix.lower() != ".ndpi":
        return file
    # Read with longer offsets than it has, another TIFF may be anything.
    with suppress(tifffile.TiffFileError, ValueError, LookupError, struct.error, OSError):
        if _OF_HAMAMATSU in file.pages.first.tags:
            return file
    file.close()
    return tifffile.TiffFile(path, is_ndpi=False)


def _open_store(path: Path, series: int | None) -> Opened:
    found = read_images(path)
    images = [image.stored for image in found]
    number = _number(path, images, series)
    reader = NgffReader(path, found[number])
    warnings = [*warnings_of(images, number, asked=series is not None), *reader.warnings]
    return Opened(reader, tuple(images), number, tuple(warnings))


def _open_declined(path: Path, series: int | None, reason: str) -> Opened:
    """Open a CZI that OpenSlide declines, as those of focal planes."""
    try:
        return _open_by_fastslide(path, series)
    except SlideError as error:
        said = str(error).removeprefix(f"{path}: ")
        raise SlideError(f"{path}: OpenSlide cannot open it ({reason}); {said}") from error


def _open_by_fastslide(path: Path, series: int | None) -> Opened:
    file = FastSlideFile(path)
    number = _number(path, file.images, series)
    reader = FastSlideReader(file, number)
    warnings = [*warnings_of(file.images, number, asked=series is not None), *reader.warnings]
    return Opened(reader, tuple(file.images), number, tuple(warnings))


def _number(path: Path, images: list[StoredImage], series: int | None) -> int:
    """Return the number of the slide among the images of a file; raises SlideError where it cannot be read as RGB."""
    if series is not None and series >= len(images):
        held = f"the images 0 to {len(images) - 1}" if len(images) > 1 else "a single image, 0"
        raise SlideError(f"{path}: there is no image {series}; the file holds {held}")
    number = choose(images) if series is None else series
    if problem := images[number].colour_problem:
        raise SlideError(f"{path}: {problem}; it is not 8-bit RGB: export the slide as such")
    return number


def _images(path: Path, text: str, pages: list[Page]) -> list[StoredImage]:
    """Return the images of a TIFF, as its XML has them, else by its pages."""
    if "<scn" in text[:2000]:
        return scn_images(pages, text) or plain_images(pages)
    if not is_ome_xml(text):
        return plain_images(pages)
    unused = "has OME-XML that is damaged or does not fit it, and was not used: its scale is that of its TIFF tags"
    return ome_images(pages, read_ome(text, path.name)) or [replace(i, note=unused) for i in plain_images(pages)]


def _open_whole(path: Path, images: list[StoredImage], series: int | None, reader: OpenSlideReader) -> Opened | None:
    """Take what OpenSlide shows of a format of which it knows what is the slide, or return None where it does not."""
    vendor = reader.properties.get("openslide.vendor")
    if vendor in _PLAIN:
        return None
    shown = joined(images, reader.properties) if vendor == "leica" else []
    if shown and series is None:
        # Its places on the glass are by this scale; tags may be missing.
        mpp = images[shown[0]].mpp or (0.0, 0.0)
        reader.properties |= {"openslide.mpp-x": f"{mpp[0]:.17g}", "openslide.mpp-y": f"{mpp[1]:.17g}"}
        warnings = [*warnings_of(images, shown[0], asked=False, joined=shown), *overlapping(images, shown)]
        return Opened(reader, tuple(images), shown[0], tuple(warnings), tuple(shown))
    if vendor == "leica" and any(image.corner for image in images):
        return None
    _only_one(path, series)
    return Opened(reader)


def _open_image(
    tiff: _Tiff, images: list[StoredImage], series: int | None, by_openslide: OpenSlideReader | str
) -> Opened:
    """Open one of the images of a TIFF, by OpenSlide's reader of the file where that fits, or it says why not."""
    path = tiff.path
    number = _number(path, images, series)
    image = images[number]
    for page in (page for level in image.levels for page in level.pages):
        check_table(path, page, tiff.pages[page.at])
    reader: Reader | None = None
    # OpenSlide takes a tiled OME-TIFF for a plain TIFF: it knows neither its scale nor its levels in SubIFDs.
    # Of a fourth sample of which nothing is said it makes transparency, and it turns each tile for itself.
    if image.page.at == (0,) and not image.is_ome and not image.page.undefined and image.page.orientation == 1:
        if isinstance(by_openslide, str) and not _DECLINED.search(by_openslide):
            raise SlideError(f"{path}: OpenSlide cannot open it ({by_openslide}); is the file whole?")
        reader = _plain(tiff, image, by_openslide) if isinstance(by_openslide, OpenSlideReader) else None
    if reader is None:
        reader = TiffReader(path, tiff.file, tiff.pages, image)
    return Opened(reader, tuple(images), number, tuple(warnings_of(images, number, asked=series is not None)))


def _plain(tiff: _Tiff, image: StoredImage, reader: OpenSlideReader) -> Reader | None:
    """Give OpenSlide's reader the levels of the first image of a TIFF, or return None where it has taken others."""
    shape = image.page.shape
    sizes = [(level.width, level.height) for level in reader.levels]
    if sizes[0] != (shape.width, shape.height) or len(set(sizes)) < len(sizes):
        return None
    reader.correct(
        {(v.pages[0].shape.width, v.pages[0].shape.height): v.downsample for v in image.levels if v.downsample > 1}
    )
    return open_jpeg_tiles(tiff.path, reader, tiff.pages.values()) or reader


def _open_vendor(path: Path) -> OpenSlideReader | str:
    """Open a slide of a format that OpenSlide knows, or return why it cannot."""
    import openslide

    try:
        return OpenSlideReader(path)
    except openslide.OpenSlideError as error:
        return _reason(path, error)


def _only_one(path: Path, series: int | None) -> None:
    if series:
        raise SlideError(f"{path}: there is no image {series}; the file holds a single slide, 0")


def _reason(path: Path, error: Exception) -> str:
    return str(error).replace(f"Reading {path}: ", "")
