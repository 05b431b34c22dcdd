"""COCO JSON of a single image: the instances of its categories, as polygons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.annotations.drawn import Drawn, polygon
from wsi_idc.annotations.shapes import checked_points, rectangle
from wsi_idc.annotations.source import Format, Source, read_each


def _reads(document: Any) -> bool:
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        return False
    return isinstance(document.get("categories"), list) or isinstance(document.get("images"), list)


def _parse(document: dict[str, Any], source: Source) -> Iterator[Drawn]:
    """Read the instances of the one image that has some, or of the one that the slide or the file is named after.

    Raises ValueError where it is not clear which image is the slide, or that has another size than the slide.
    """
    named = {c["id"]: str(c.get("name", "")) for c in document.get("categories") or () if _has_id(c)}
    images = {i["id"]: i for i in document.get("images") or () if _has_id(i)}
    wanted = _image(document["annotations"], images, source)
    _check_size(images.get(wanted, {}), source)
    found = (
        (f"annotation {one.get('id', n)}" if isinstance(one, dict) else f"annotation {n}", one)
        for n, one in enumerate(document["annotations"], 1)
        if not isinstance(one, dict) or _key(one.get("image_id")) == wanted
    )
    return read_each(found, lambda one, where: _drawn(one, where, named))


def _has_id(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), int | str)


def _key(value: Any) -> int | str | None:
    return value if isinstance(value, int | str) else None


def _image(annotations: list[Any], images: Mapping[int | str, Any], source: Source) -> int | str | None:
    """Return the id of the image that is the slide, None where nothing states an image."""
    used = list(dict.fromkeys(_key(a.get("image_id")) for a in annotations if isinstance(a, dict)))
    candidates = used if annotations else list(images)
    if len(candidates) < 2 and len(images) < 2:
        return candidates[0] if candidates else None
    stems = {source.file.name.partition(".")[0]}
    if isinstance(source.slide, Path):
        stems.add(source.slide.name.partition(".")[0])
    of_name = [k for k, image in images.items() if _stem(image) in stems]
    if len(of_name) == 1:
        return of_name[0]
    if len(candidates) == 1:
        return candidates[0]
    raise ValueError(
        f"outlines {len(candidates)} images, none or several of them of the name of the slide; give a file of one image"
    )


def _stem(image: Mapping[str, Any]) -> str:
    return str(image.get("file_name", "")).replace("\\", "/").rpartition("/")[2].partition(".")[0]


def _check_size(image: Mapping[str, Any], source: Source) -> None:
    if source.slide is None or not image.get("width"):
        return
    width, height = source.frame("is compared with the slide").size
    if (image.get("width"), image.get("height")) != (width, height):
        raise ValueError(
            f"was outlined on an image of {image.get('width')}x{image.get('height')} pixels, and the slide has "
            f"{width}x{height}; give outlines in pixels of its full resolution"
        )


def _drawn(one: Any, where: str, named: Mapping[Any, str]) -> Drawn:
    category = _key(one.get("category_id"))
    name = named.get(category, "") or ("" if category is None else str(category))
    outlines, note = _outlines(one)
    return Drawn(
        where=where,
        shape="instance",
        parts=[part for outline in outlines for part in polygon([outline])],
        names=(name,) if name else (),
        note=note,
    )


def _outlines(one: Mapping[str, Any]) -> tuple[list[np.ndarray], str]:
    """Return the outlines of an instance, which together are its area, and what to know of them."""
    drawn = one.get("segmentation")
    if isinstance(drawn, dict):
        raise ValueError("is a mask (run lengths), which is not read; export polygons")
    if drawn:
        flat = [drawn] if not isinstance(drawn[0], list) else drawn
        return [checked_points(np.asarray(ring, float).reshape(-1, 2)) for ring in flat], ""
    if not one.get("bbox"):
        return [], ""
    left, top, width, height = (float(v) for v in one["bbox"])
    (corner,), (sides,) = checked_points([[left, top]]), checked_points([[width, height]])
    return [rectangle(corner + sides / 2, sides / 2)], "has a box and no outline, taken as the area of the box"


FORMAT = Format("COCO JSON", _reads, _parse)
