"""What the tags of a TIFF say of its images, checked before anything is decoded."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi_idc.base.inputs.bounded import open_regular
from wsi_idc.errors import SlideError
from wsi_idc.slides.levels.pyramid import Shape

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Pages looked at; scanners write a dozen, and each takes some 0.1 ms to parse.
_MOST_PAGES = 1000
# Pixels of a tile, of the largest that a decoder is given: a tile of 8192 x 8192. Scanners write up to 4096 x 4096.
LARGEST_TILE = 1 << 26
# Bytes of pixels that a byte of codes can stand for: deflate makes 1032, LZW some 1,400 at most.
_MOST_EXPANSION = 3000
# Letters of a name; what is longer is a description.
LONGEST_NAME = 100
_SIZE = re.compile(r"(\d{1,9})x(\d{1,9})")
NAMED = ("label", "macro", "overview", "thumbnail", "barcode")
_UNIT_UM = {2: 25_400.0, 3: 10_000.0}
# Tags that name a page: DocumentName, ImageDescription, PageName.
_NAMES = (269, 270, 285)
_ORIENTATION = 274


@dataclass(frozen=True, slots=True)
class Page:
    """One image of a TIFF: a page, or a SubIFD of one.

    `at` is its place in the file: (page,) or (page, SubIFD). `kind` is label, macro, overview, thumbnail, barcode or
    mask where the file says so, else "". `reduced` says that it is marked as a smaller copy. `shape.mpp` is the scale
    that its resolution tags state. `signed` says that samples may be negative, or are no whole numbers, and
    `undefined` that a fourth sample is there of which nothing is said, not that it is transparency. `depth` is how many
    planes it has one behind another, and `orientation` how it is to be turned to be shown: 1 for not at all.
    """

    at: tuple[int, ...]
    shape: Shape
    samples: int
    bits: int
    colours: str
    compression: int
    planar: bool
    signed: bool
    undefined: bool
    tiled: bool
    reduced: bool
    kind: str
    text: str
    depth: int = 1
    orientation: int = 1

    @property
    def pixels(self) -> int:
        """How many pixels it has."""
        return self.shape.width * self.shape.height

    @classmethod
    def of_other(cls, at: Place, shape: Shape, *, samples: int, bits: int, colours: str, signed: bool) -> Page:
        """Describe a level of an image of another format, so that the same rules choose among images."""
        return cls(
            at=at,
            shape=shape,
            samples=samples,
            bits=bits,
            colours=colours,
            compression=0,
            planar=False,
            signed=signed,
            undefined=False,
            tiled=True,
            reduced=False,
            kind="",
            text="",
        )


def is_tiff(path: Path) -> bool:
    """Say whether a file begins as a TIFF does; raises SlideError where it cannot be read."""
    try:
        with open_regular(path) as stream:
            return stream.read(4) in _MAGIC
    except OSError as error:
        raise SlideError(f"{path}: cannot be read ({error.strerror})") from error


# Where an image lies in a file: (page,) or (page, SubIFD).
Place = tuple[int, ...]


def read_pages(path: Path, pages: Mapping[Place, Any]) -> list[Page]:
    """Describe the pages of a `tifffile.TiffFile`; raises SlideError where a header claims what no file can hold."""
    return [_describe(path, page, at) for at, page in pages.items()]


def walk(file: Any) -> Iterator[tuple[Place, Any]]:
    """Give the pages of an open `tifffile.TiffFile` with their places, and SubIFDs behind their page.

    tifffile parses them anew each time. Raises ValueError where they are no images of a slide, but far too many.
    """
    seen: set[int] = set()
    for number, page in enumerate(file.pages):
        if number >= _MOST_PAGES:
            raise ValueError(f"it holds more than {_MOST_PAGES} images; export the slide alone")
        if page.offset in seen:
            raise ValueError("its list of images leads in a circle; export the slide anew")
        seen.add(page.offset)
        yield (number,), page
        for below, sub in enumerate(page.pages or ()):
            yield (number, below), sub


def _describe(path: Path, page: Any, at: Place) -> Page:
    import tifffile

    bits = page.bitspersample
    try:
        colours = tifffile.PHOTOMETRIC(page.photometric).name
    except ValueError:
        colours = str(page.photometric)
    subfile = int(page.subfiletype or 0)
    text = " ".join(str(page.tags[tag].value) for tag in _NAMES if tag in page.tags)
    found = Page(
        at=at,
        shape=Shape(
            page.imagewidth,
            page.imagelength,
            (page.tilewidth, page.tilelength) if page.is_tiled else (0, 0),
            resolution_mpp(page),
        ),
        samples=page.samplesperpixel,
        bits=bits if isinstance(bits, int) else max(bits),
        colours=colours,
        compression=int(page.compression),
        planar=page.planarconfig == 2,
        signed=int(page.sampleformat or 1) not in (1, 4),
        undefined=page.samplesperpixel > 3 and int((page.extrasamples or (0,))[0]) == 0,
        tiled=bool(page.is_tiled),
        reduced=bool(subfile & 1),
        # Aperio marks its macro photo by bit 3; bit 2 is a mask.
        kind=kind_of(text) or ("mask" if subfile & 4 else "macro" if subfile & 8 else ""),
        text=text,
        depth=int(page.imagedepth or 1),
        orientation=page.tags.valueof(_ORIENTATION, 1),
    )
    _refuse_tiles(path, found)
    return found


def resolution_mpp(page: Any) -> tuple[float, float] | None:
    """Return the um per pixel that the resolution tags of a page state, (x, y), or None."""
    tags = page.tags
    unit = _UNIT_UM.get(int(tags[296].value)) if 296 in tags else None
    per_unit = [ratio(tags[tag].value) for tag in (282, 283) if tag in tags]
    if unit is None or len(per_unit) < 2 or min(per_unit) <= 0:
        return None
    return unit / per_unit[0], unit / per_unit[1]


def ratio(value: Any) -> float:
    """Return a rational number of a TIFF; 0 where it is none."""
    number = value[0] / value[1] if isinstance(value, tuple) and value[1] else 0 if isinstance(value, tuple) else value
    return float(number) if math.isfinite(number) else 0.0


def kind_of(text: str) -> str:
    """Return what the text of an image marks it as: label, macro, overview, thumbnail or barcode; else "".

    Long texts are metadata, in which these words mean nothing but where they are said to be the kind of the image.
    """
    if found := re.search(r"<ImageType>\s*([A-Za-z]+)", text):
        words = found[1]
    elif text.startswith("Aperio"):
        # The second line is the size of the image, and begins with what it is, where it is not the slide.
        words = [*text.splitlines(), "", ""][1].split(" ")[0]
    else:
        words = text if len(text) < LONGEST_NAME else ""
    # "MacroImage" and "slide_label" are said so; a macrodissected and an unlabelled section are not.
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words).lower()
    return next((word for word in NAMED if re.search(rf"(?<![a-z]){word}s?(?:image)?(?![a-z])", apart)), "")


def resized(text: str, width: int, height: int) -> str:
    """Say where the description of an Aperio slide is of other pixels than the width x height there are; else "".

    It has the size of the scan, of the part of it that the file holds, and behind an arrow what that was reduced to.
    """
    if not text.startswith("Aperio"):
        return ""
    line = re.sub(r"\(.*?\)", "", [*text.splitlines(), "", ""][1].partition(";")[0].partition("|")[0])
    full, arrow, _ = line.partition("->")
    stated = [(int(w), int(h)) for w, h in _SIZE.findall(full)]
    return other_size(width, height, *stated[-1]) if stated and (arrow or (width, height) not in stated) else ""


def other_size(width: int, height: int, stated_width: int, stated_height: int) -> str:
    """Say of an image that it is of another size than its metadata state, so that its scale may be another too."""
    return (
        f"is {width} x {height} px, but its metadata are of {stated_width} x {stated_height} px: a reduced or cut "
        "copy, whose scale may be another than the one stated; if so, give the true one with --mpp"
    )


def _refuse_tiles(path: Path, found: Page) -> None:
    """Raise SlideError where a page claims tiles that no decoder can hold: OpenSlide ends the process for them."""
    wide, high = found.shape.tile
    if found.tiled and (wide < 1 or high < 1 or wide * high > LARGEST_TILE):
        raise SlideError(
            f"{path}: {_called(found)} claims tiles of {wide} x {high} px, more than can be decoded; "
            "the header is damaged, or export the slide with tiles of at most 4096 px"
        )


def check_table(path: Path, found: Page, page: Any) -> None:
    """Raise SlideError where a page claims more pixels than its table lists tiles for, or than its bytes can hold."""
    width, height = found.shape.width, found.shape.height
    if width < 1 or height < 1:
        raise SlideError(f"{path}: {_called(found)} has no size; the header is damaged, export the slide anew")
    wide, high = found.shape.tile if found.tiled else (width, max(1, min(height, page.rowsperstrip or height)))
    planes, samples = (found.samples, 1) if found.planar else (1, found.samples)
    expected = math.ceil(width / wide) * math.ceil(height / high) * planes
    offsets, sizes = page.dataoffsets, page.databytecounts
    if min(len(offsets), len(sizes)) < expected:
        raise SlideError(
            f"{path}: {_called(found)} lists {len(offsets)} of its {expected} tiles; its table is missing or cut, "
            "is the file whole?"
        )
    block = wide * high * samples
    if block > LARGEST_TILE and any(0 < n * _MOST_EXPANSION < block for n in sizes):
        raise SlideError(
            f"{path}: {_called(found)} claims {width} x {high} px of {max(sizes)} bytes, more than they can hold; "
            "the header is damaged, export the slide anew"
        )


def _called(page: Page) -> str:
    return f"image {page.at[0]} of the file"
