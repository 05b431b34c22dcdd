"""The images of a Leica SCN file: the scans of several places of the glass, and which of them OpenSlide joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

from wsi_idc.slides.levels.pyramid import downsample_of
from wsi_idc.slides.tiff.images import StoredImage, StoredLevel
from wsi_idc.slides.tiff.pages import Page

# From this scale on, in um/px, an image of the whole glass is the photo of it.
_PHOTO_MPP = 8.0
# Scans whose scales differ by more than this are not one slide: OpenSlide joins them up to 2 %, at the scale of one.
_ONE_SCALE = 0.01


def scn_images(pages: Sequence[Page], xml: str) -> list[StoredImage]:
    """Return the images that the XML of an SCN file names, in its order; none where it makes no sense."""
    at = {page.at: page for page in pages}
    try:
        collection = ElementTree.fromstring(xml).find("{*}collection")
        if collection is None:
            return []
        whole = (collection.get("sizeX"), collection.get("sizeY"))
        found = [_image(image, at, whole) for image in collection.iterfind("{*}image")]
    except (ElementTree.ParseError, ValueError, TypeError, ZeroDivisionError):
        return []
    return [image for image in found if image is not None]


def _image(
    image: ElementTree.Element, at: dict[tuple[int, ...], Page], whole: tuple[str | None, str | None]
) -> StoredImage | None:
    view, pixels = image.find("{*}view"), image.find("{*}pixels")
    if view is None or pixels is None:
        return None
    planes = [d for d in pixels.iterfind("{*}dimension") if int(d.get("c", "0")) == 0]
    depths = sorted({int(d.get("z", "0")) for d in planes})
    middle = depths[len(depths) // 2] if depths else 0
    numbers = [int(d.get("ifd", "-1")) for d in planes if int(d.get("z", "0")) == middle]
    found = sorted((at[n,] for n in numbers if (n,) in at), key=lambda page: -page.pixels)
    if not found:
        return None
    # The view is in nm.
    mpp = tuple(
        int(view.get(f"size{axis}", "")) / 1000 / size
        for axis, size in (("X", found[0].shape.width), ("Y", found[0].shape.height))
    )
    full = replace(found[0].shape, mpp=None)
    levels = [StoredLevel((found[0],), 1.0)]
    for page in found[1:]:
        # Their resolution tags are those of level 0.
        if (downsample := downsample_of(replace(page.shape, mpp=None), full)) is not None and downsample > 1:
            levels.append(StoredLevel((page,), downsample))
    power = image.findtext(".//{*}objective")
    # Of the corner of the glass, in nm too.
    corner = int(view.get("offsetX", "0")) / 1000, int(view.get("offsetY", "0")) / 1000
    of_glass = (view.get("sizeX"), view.get("sizeY")) == whole and mpp[0] >= _PHOTO_MPP
    note = f"holds {len(depths)} focal planes, of which the middle one was looked at" if len(depths) > 1 else ""
    return StoredImage(
        tuple(levels),
        # The photo of the glass is that of the whole collection.
        "macro" if of_glass else "",
        image.get("name", ""),
        (mpp[0], mpp[1]),
        float(power) if power else None,
        note,
        corner=corner,
    )


def joined(images: Sequence[StoredImage], properties: Mapping[str, str]) -> list[int]:
    """Return which images OpenSlide, which states these properties, shows as one slide, each at its place on the glass.

    None where what it shows is not what they hold: it takes the first of several focal planes, and one scale for all.
    """
    regions = [region for n in range(len(images)) if (region := _region(properties, n)) is not None]
    found = [i for i, image in enumerate(images) if not image.kind and any(_is_at(image, r) for r in regions)]
    scales = [mpp for i in found if (mpp := images[i].mpp) is not None]
    alike = all(abs(a[k] / b[k] - 1) <= _ONE_SCALE for a, b in combinations(scales, 2) for k in (0, 1))
    whole = len(found) == len(regions) and not any(images[i].note for i in found)
    return found if whole and alike else []


def overlapping(images: Sequence[StoredImage], shown: Sequence[int]) -> list[str]:
    """Warn, in one sentence, where scans that are shown as one slide cover each other."""
    boxes = [(i, *box) for i in shown if (box := _box(images[i])) is not None]
    pairs = [
        f"{a[0]} and {b[0]}"
        for a, b in combinations(boxes, 2)
        if a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]
    ]
    if not pairs:
        return []
    return [
        f"the scans {', '.join(pairs)} of the file overlap on the glass, where only one of them was looked at; "
        "--series takes each alone, or all"
    ]


def _box(image: StoredImage) -> tuple[float, float, float, float] | None:
    """Return left, top, right and bottom of an image on the glass, um, less a pixel: what touches is not over it."""
    if image.corner is None or image.mpp is None:
        return None
    (x, y), shape, mpp = image.corner, image.page.shape, image.mpp
    return x, y, x + (shape.width - 1) * mpp[0], y + (shape.height - 1) * mpp[1]


def _region(properties: Mapping[str, str], number: int) -> tuple[int, int, int, int] | None:
    """Return x, y, width and height of a part of what OpenSlide shows, in its pixels."""
    try:
        x, y, width, height = (
            int(properties[f"openslide.region[{number}].{k}"]) for k in ("x", "y", "width", "height")
        )
    except (KeyError, ValueError):
        return None
    return x, y, width, height


def _is_at(image: StoredImage, region: tuple[int, int, int, int]) -> bool:
    """Say whether a part of what OpenSlide shows is this image."""
    if image.corner is None or image.mpp is None:
        return False
    shape = image.page.shape
    near = all(
        abs(c / m - r) <= 1 + _ONE_SCALE * r for c, m, r in zip(image.corner, image.mpp, region[:2], strict=True)
    )
    return (shape.width, shape.height) == region[2:] and near
