"""The images that a TIFF holds: scans, each with its smaller copies, labels, photos; and which of them is the slide."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wsi_idc.slides.levels.pyramid import Shape, downsample_of, may_be_padded
from wsi_idc.slides.tiff.ome import OmeImage
from wsi_idc.slides.tiff.pages import LONGEST_NAME, NAMED, Page, kind_of, other_size, resized

# From this scale on, in um/px, an image beside a finer one is a photo of the glass, not a scan.
_PHOTO_MPP = 8.0
_PLAUSIBLE = (0.05, 20.0)
# A finer image counts as the better one unless it is smaller than the coarser one by more than this.
_FAR_SMALLER = 16
# One of 8-bit RGB counts as the better one down to half the sides: below, it may be a thumbnail of the other.
_HALF_SIDES = 4
# A tiled image counts as the better one unless it is smaller than one in strips by more than this.
_SMALLER = 8


@dataclass(frozen=True, slots=True)
class StoredLevel:
    """One size of an image: its pages, one or those of red, green and blue, and its downsample."""

    pages: tuple[Page, ...]
    downsample: float


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image of a file, `levels` from the finest on.

    `kind` says what it is where it is no scan: label, macro, thumbnail and the like. `mpp` is what its own metadata
    states, um per pixel, (x, y), and `power` its objective. `note` is what a user has to know of how it is read;
    `is_ome` says that OME-XML describes it. `corner` is where on the glass its top-left corner lies, um, where stated.
    """

    levels: tuple[StoredLevel, ...]
    kind: str = ""
    name: str = ""
    mpp: tuple[float, float] | None = None
    power: float | None = None
    note: str = ""
    is_ome: bool = False
    corner: tuple[float, float] | None = None

    @property
    def page(self) -> Page:
        """The first page of the finest level."""
        return self.levels[0].pages[0]

    @property
    def shape(self) -> Shape:
        """Size and scale of the finest level."""
        return replace(self.page.shape, mpp=self.mpp or self.page.shape.mpp)

    @property
    def fine(self) -> float | None:
        """The um per pixel that it states, or None where that is not stated, or not plausible."""
        mpp = self.shape.mpp
        return mpp[0] if mpp and _PLAUSIBLE[0] <= mpp[0] <= _PLAUSIBLE[1] else None

    @property
    def colour_problem(self) -> str:
        """Why its pixels are not 8-bit RGB, or ""."""
        page, planes = self.page, self.levels[0].pages
        if page.depth > 1:
            return f"has {page.depth} planes in one image"
        if page.bits != 8:
            return f"has {page.bits} bits a sample, and not 8"
        if page.signed:
            return "has signed samples"
        if len(planes) == 3:
            return "" if page.samples == 1 and page.colours == "MINISBLACK" else f"has three planes of {page.colours}"
        if page.colours in ("RGB", "YCBCR") and page.samples >= 3:
            return ""
        return f"has {page.samples} samples of {page.colours} a pixel"


def ome_images(pages: Sequence[Page], found: Sequence[OmeImage]) -> list[StoredImage]:
    """Return the images of an OME-TIFF in the order of its XML; none where the XML does not fit the pages."""
    at = {page.at: page for page in pages}
    below = Counter(page.at[0] for page in pages if len(page.at) > 1)
    images = []
    for image in found:
        depth, channels, times = image.sizes
        order = image.order if channels == 3 else (0,)
        if order is None or channels not in (1, 3):
            order = (0,)
        places = [image.planes.get((depth // 2, channel, 0)) for channel in order]
        tops = [at[place,] for place in places if place is not None and (place,) in at]
        if len(tops) != len(order):
            continue
        full = replace(tops[0].shape, mpp=image.mpp or tops[0].shape.mpp)
        levels = [StoredLevel(tuple(tops), 1.0)]
        for sub in range(below[tops[0].at[0]]):
            planes = [at.get((top.at[0], sub)) for top in tops]
            whole = tuple(plane for plane in planes if plane is not None)
            downsample = downsample_of(whole[0].shape, full) if len(whole) == len(tops) else None
            if downsample is not None and downsample > 1 and not may_be_padded(whole[0].shape, full):
                levels.append(StoredLevel(whole, downsample))
        kind = kind_of(image.name) or tops[0].kind
        own = full.width, full.height
        notes = [note_of(depth, times), other_size(*own, *image.size) if all(image.size) and image.size != own else ""]
        note = "; ".join(filter(None, notes))
        images.append(StoredImage(_distinct(levels), kind, image.name, image.mpp, image.power, note, is_ome=True))
    return images


def note_of(depth: int, times: int) -> str:
    """Say which focal plane and which time of an image are looked at, where it has several."""
    planes = f"holds {depth} focal planes, of which the middle one, {depth // 2 + 1}, was looked at"
    points = f"holds {times} times, of which the first was looked at"
    return "; ".join([planes] * (depth > 1) + [points] * (times > 1))


def _is_level(page: Page, whole: Page) -> bool:
    """Say whether a smaller copy can be read in place of the whole page."""
    return (page.tiled or not whole.tiled) and not may_be_padded(page.shape, whole.shape)


def plain_images(pages: Sequence[Page]) -> list[StoredImage]:
    """Group the pages of a TIFF into images, in the order of the file.

    A page is a smaller copy of another image where their sizes and scales agree, whatever the order; where it would be
    one of several, of the last before it.
    """
    full: list[Page] = []
    rest = [page for page in pages if page.kind]
    candidates = [page for page in pages if not page.kind]
    for page in sorted(candidates, key=lambda p: (p.reduced or len(p.at) > 1, -p.pixels, p.at)):
        if all(_copies(page, other) is None for other in full):
            full.append(page)
    copies: dict[tuple[int, ...], list[StoredLevel]] = {page.at: [] for page in full}
    small: list[Page] = []
    for page in candidates:
        wholes = [other for other in full if other is not page and _copies(page, other) is not None]
        if page.at in copies or not wholes:
            continue
        before = [other for other in wholes if other.at <= page.at]
        # A SubIFD is of its own page only.
        whole = max(before, key=lambda p: p.at) if before else wholes[0] if len(wholes) == 1 else None
        downsample = _copies(page, whole) if whole else None
        if (
            whole is None
            or downsample is None
            or (whole.tiled and not page.tiled)
            or may_be_padded(page.shape, whole.shape)
        ):
            small.append(page)
        else:
            copies[whole.at].append(StoredLevel((page,), downsample))
    images = [
        StoredImage(
            _distinct([StoredLevel((p,), 1.0), *copies[p.at]]), note=resized(p.text, p.shape.width, p.shape.height)
        )
        for p in full
    ]
    images += [StoredImage((StoredLevel((p,), 1.0),), p.kind) for p in rest]
    images += [StoredImage((StoredLevel((p,), 1.0),), "thumbnail") for p in small]
    return sorted(images, key=lambda image: image.page.at)


def _copies(page: Page, whole: Page) -> float | None:
    """Return the downsample of a page where it is a smaller copy of another one."""
    marked = page.reduced or len(page.at) > 1
    if (len(page.at) > 1 and page.at[0] != whole.at[0]) or (page.bits, page.samples) != (whole.bits, whole.samples):
        return None
    downsample = downsample_of(page.shape, whole.shape, marked=marked)
    return downsample if downsample is not None and downsample > 1.1 else None


def _distinct(levels: Sequence[StoredLevel]) -> tuple[StoredLevel, ...]:
    """Order levels from the finest on, without those of one size: which of them belongs here cannot be told."""
    size = Counter((level.pages[0].shape.width, level.pages[0].shape.height) for level in levels)
    once = [v for v in levels if size[v.pages[0].shape.width, v.pages[0].shape.height] == 1 or v.downsample == 1]
    return tuple(sorted(once, key=lambda level: level.downsample))


def choose(images: Sequence[StoredImage]) -> int:
    """Return which image is the slide: by what it is, and not by its place.

    No label, photo or smaller copy; one of 8-bit RGB; the finest, tiled, and largest. Of three or more of one size and
    scale, which may be focal planes, the middle one.
    """
    order = sorted(range(len(images)), key=lambda i: _rank(images[i], images))
    best = images[order[0]]
    alike = [i for i in sorted(order) if _rank(images[i], images) == _rank(best, images)]
    return alike[len(alike) // 2] if len(alike) > 2 else alike[0]


def _rank(image: StoredImage, images: Sequence[StoredImage]) -> tuple[bool | int, ...]:
    """Return what sorts images, the slide first."""
    others = [other for other in images if not other.kind and other is not image]
    area, mpp = image.page.pixels, image.fine

    def better(smaller: int, condition: Sequence[StoredImage]) -> bool:
        return any(other.page.pixels * smaller >= area for other in condition)

    finer = [o for o in others if o.fine is not None and (mpp is None or o.fine * 1.5 < mpp)]
    tiled = [o for o in others if o.page.tiled and not image.page.tiled]
    readable = [o for o in others if image.colour_problem and not o.colour_problem]
    return (
        bool(image.kind),
        better(_HALF_SIDES, readable),
        image.page.reduced and not _is_finest(image, others),
        better(_FAR_SMALLER, finer),
        better(_SMALLER, tiled),
        -area,
    )


def _is_finest(image: StoredImage, others: Sequence[StoredImage]) -> bool:
    """Say whether an image states a finer scale than all others, and is larger: then it is no copy, however marked."""
    fine = image.fine
    return fine is not None and all(
        o.fine is not None and o.fine > 1.5 * fine and o.page.pixels < image.page.pixels for o in others
    )


def role(image: StoredImage, chosen: StoredImage) -> str:
    """Say what an image beside the chosen one is: its kind, or a photo of the glass, a contradictory copy, a scan."""
    if image.kind:
        return image.kind
    if image.fine is not None and image.fine >= _PHOTO_MPP and (chosen.fine or _PHOTO_MPP) * 3 < image.fine:
        return "photo"
    return "no level" if image.page.reduced else "scan"


def _telling_name(image: StoredImage) -> str:
    """Return the name of a label or the like where it says more than that, as the name of a scan may; else ""."""
    name = image.name or image.page.text
    # What scanners write of an image is no name that somebody gave it.
    given = len(name) < LONGEST_NAME and "<" not in name and not name.startswith("Aperio")
    more = re.sub(rf"{image.kind}s?|image|[\W_]", "", name.lower())
    return name if image.kind in NAMED and given and more else ""


def warnings_of(images: Sequence[StoredImage], chosen: int, *, asked: bool, joined: Sequence[int] = ()) -> list[str]:
    """Say of a file what may be missed by looking at one of its images, or at those `joined`, one sentence each."""
    image = images[chosen]
    found = [f"the image {image.note}"] if image.note else []
    if (turn := image.page.orientation) in range(2, 9):
        found.append(
            f"the image is to be shown turned or mirrored (TIFF orientation {turn}): it was read, and its regions lie, "
            "as it is stored"
        )
    if image.kind and not asked:
        found.append(f"the file marks its only image as {image.kind}; is it the slide?")
    shown = sorted({chosen, *joined})
    others = [i for i, other in enumerate(images) if i not in shown and role(other, image) == "scan"]
    if others and not asked:
        listed = ", ".join(f"{i} ({images[i].page.shape.width} x {images[i].page.shape.height} px)" for i in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        size = image.page.shape.width, image.page.shape.height
        alike = sum(
            (images[i].page.shape.width, images[i].page.shape.height) == size and images[i].corner == image.corner
            for i in others
        )
        planes = ", of which those of one size may be focal planes" if alike > 1 else ""
        found.append(
            f"the file holds {len(others) + len(shown)} images that may be scans{planes}; image "
            f"{' and '.join(map(str, shown))} was looked at, not {listed}{more}; --series takes another one, or all"
        )
    for i, other in enumerate(images):
        large = 2 * other.page.pixels >= image.page.pixels
        if i not in shown and not asked and large and (name := _telling_name(other)):
            shape = other.page.shape
            found.append(
                f"image {i} ({shape.width} x {shape.height} px) is as large as a scan, but its name, {name!r}, says "
                f"{other.kind}: it was not looked at; --series {i} takes it"
            )
        if i != chosen and role(other, image) == "no level":
            shape = other.page.shape
            found.append(
                f"an image of {shape.width} x {shape.height} px is marked as a smaller copy of the slide, but its "
                "shape or scale says otherwise; it was not used"
            )
    return found
