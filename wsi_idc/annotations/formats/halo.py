"""HALO's .annotations (Indica Labs): XML that looks like ImageScope's, with other vertices, and shapes in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from wsi_idc.annotations.drawn import Drawn, polygon
from wsi_idc.annotations.formats.layers import color_of, is_negative, layers_of, points_of, vertices_of
from wsi_idc.annotations.formats.xml import comma_note
from wsi_idc.annotations.shapes import CLOSED_LINE, box_of, ellipse, is_closed, rectangle
from wsi_idc.annotations.source import Format, Source, read_each

_LINES = ("ruler", "line", "polyline", "arrow")
_POINTS = ("pin", "point", "text")


def _reads(document: Any) -> bool:
    if not isinstance(document, Element) or document.tag != "Annotations":
        return False
    region = document.find(".//Region")
    if region is None:
        return False
    return not region.get("Type", "0").strip().isdigit() or region.find("Vertices/V") is not None


def _parse(root: Element, source: Source) -> Iterator[Drawn]:
    """Read the regions; one with NegativeROA="1" is a hole in those of its layer. The class is the layer's name."""
    found = ((where, (region, number, layer)) for where, region, number, layer in layers_of(root))
    return read_each(found, _drawn)


def _drawn(one: tuple[Element, int, Element], where: str) -> Drawn:
    region, number, layer = one
    shape, points = region.get("Type", "Polygon").strip().lower(), points_of(region, where)
    outline, note = _outline(shape, points, region.get("HasEndcaps", "0") == "1")
    name = layer.get("Name", "").strip()
    return Drawn(
        where=where,
        shape=shape,
        parts=[] if outline is None else polygon([outline]),
        names=(name,) if name else (),
        color=color_of(layer),
        layers=frozenset([str(number)]),
        cuts=str(number) if is_negative(region) else None,
        note="; ".join(filter(None, [note, comma_note(vertices_of(region))])),
    )


def _outline(shape: str, points: np.ndarray, has_ends: bool) -> tuple[np.ndarray | None, str]:
    """Return the outline of a region, None where it has no area, and what to know of it.

    Rectangles and ellipses have two vertices, corners of the box around them, unless they were edited. A polygon that
    has end caps is a line.
    """
    if shape in ("rectangle", "ellipse") and len(points) == 2:
        return (ellipse if shape == "ellipse" else rectangle)(*box_of(points)), ""
    if shape in _POINTS:
        return None, ""
    if shape in _LINES or has_ends:
        return (points, CLOSED_LINE) if is_closed(points) else (None, "")
    return points, ""


FORMAT = Format("HALO .annotations", _reads, _parse)
