"""What ImageScope and HALO share: layers of regions, of vertices each, in the XML of Aperio."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from xml.etree.ElementTree import Element

import numpy as np

from wsi_idc.annotations.drawn import Color
from wsi_idc.annotations.formats.xml import numbers_of
from wsi_idc.annotations.shapes import checked_points

_NO, _YES = frozenset({"", "0", "false", "no"}), frozenset({"1", "-1", "true", "yes"})


def layers_of(root: Element) -> Iterator[tuple[str, Element, int, Element]]:
    """Give each region: what it is called, itself, the number of its layer, from 1, and the layer.

    Raises ValueError for a root that holds elements and no region, which is another dialect.
    """
    if root.find("Annotation/Regions") is None and len(root):
        raise ValueError(f"has no Regions in its Annotation, but <{next(iter(root[0]), root[0]).tag}>")
    for number_, layer in enumerate(root.iterfind("Annotation"), 1):
        for n, region in enumerate(layer.iterfind("Regions/Region"), 1):
            yield f"layer {layer.get('Id', number_)}, region {region.get('Id', n)}", region, number_, layer


def color_of(layer: Element) -> Color | None:
    """Return the colour of a layer, None where it states none that can be read."""
    try:
        value = int(layer.get("LineColor", ""))
    except ValueError:
        return None
    # Windows' COLORREF: blue is in the high byte.
    return value & 255, value >> 8 & 255, value >> 16 & 255


def is_negative(region: Element) -> bool:
    """Say whether a region is a hole; raises ValueError where what it states is neither yes nor no."""
    stated = region.get("NegativeROA", "0").strip().lower()
    if stated not in _NO | _YES:
        raise ValueError(f"NegativeROA is {stated!r}, neither 0 nor 1")
    return stated in _YES


def points_of(region: Element, where: str) -> np.ndarray:
    """Return the vertices (n, 2) of a region, ImageScope's or HALO's; raises ValueError where one is none."""
    return checked_points(numbers_of(vertices_of(region), ("X", "Y"), "a vertex"))


def vertices_of(region: Element) -> Iterator[Element]:
    """Give the vertices of a region."""
    return chain(region.iterfind("Vertices/Vertex"), region.iterfind("Vertices/V"))
