"""The images of a Leica SCN file that OpenSlide declines, as where its scans have different scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

from wsi_idc.slides.pyramid import downsample_of
from wsi_idc.slides.tiff.images import StoredImage, StoredLevel
from wsi_idc.slides.tiff.pages import Page


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
    note = f"holds {len(depths)} focal planes, of which the middle one was looked at" if len(depths) > 1 else ""
    return StoredImage(
        tuple(levels),
        # The photo of the glass is that of the whole collection.
        "macro" if (view.get("sizeX"), view.get("sizeY")) == whole else "",
        image.get("name", ""),
        (mpp[0], mpp[1]),
        float(power) if power else None,
        note,
    )
