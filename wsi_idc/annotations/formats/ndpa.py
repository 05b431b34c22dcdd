"""Hamamatsu's .ndpa (NDP.view): XML with coordinates in nanometres from the centre of the glass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from wsi_idc.annotations.drawn import Drawn, polygon
from wsi_idc.annotations.formats.xml import rgb
from wsi_idc.annotations.shapes import CLOSED_LINE, checked_points, ellipse, is_closed, number_of
from wsi_idc.annotations.source import Format, Source, read_each
from wsi_idc.errors import DataError

_NEEDS = "counts nanometres from the centre of the glass"


def _reads(document: Any) -> bool:
    return isinstance(document, Element) and document.tag == "annotations" and document.find("ndpviewstate") is not None


def _parse(root: Element, source: Source) -> Iterator[Drawn]:
    """Read freehand outlines, rectangles and circles; what may name the class: the title, the details, the colour.

    Raises DataError without a slide, or with one that does not say where on the glass it lies.
    """
    frame = source.frame(_NEEDS)
    if frame.centre_nm is None or frame.mpp is None:
        raise DataError(
            f"{source.file}: {_NEEDS}, and the slide does not state its scale and hamamatsu.XOffsetFromSlideCentre; "
            "give the .ndpi file that it was drawn on: "
            f"wsi-idc convert {source.file.name} OUT.geojson --slide SLIDE.ndpi"
        )
    found = ((_where(view, n), view) for n, view in enumerate(root.iterfind("ndpviewstate"), 1))
    to_pixels = _Pixels(np.array(frame.centre_nm), 1000 * np.array(frame.mpp), np.array(frame.size) / 2)
    return read_each(found, lambda view, where: _drawn(view, where, to_pixels))


def _where(view: Element, number: int) -> str:
    title, where = (view.findtext("title") or "").strip(), f"annotation {view.get('id', number)}"
    return f"{where}, {title!r}" if title else where


@dataclass(frozen=True, slots=True)
class _Pixels:
    """From nm off the centre of the glass to level-0 pixels: `pixel` is one's width and height in nm."""

    centre: np.ndarray
    pixel: np.ndarray
    middle: np.ndarray

    def __call__(self, nanometres: list[tuple[float, float]]) -> np.ndarray:
        points = np.array(nanometres, float).reshape(-1, 2)
        return checked_points((points - self.centre) / self.pixel + self.middle)


def _drawn(view: Element, where: str, to_pixels: _Pixels) -> Drawn:
    title, details = ((view.findtext(tag) or "").strip() for tag in ("title", "details"))
    unit = (view.findtext("coordformat") or "nanometers").strip().lower()
    if unit not in ("nanometers", "nanometres", "nm"):
        raise ValueError(f"coordinates in {unit!r}, not in nanometers")
    one = view.find("annotation")
    shape = "no annotation" if one is None else one.get("type", "outline")
    outline, note = (None, "") if one is None else _outline(one, shape, to_pixels)
    color = "" if one is None else one.get("color", "")
    return Drawn(
        where=where,
        shape=shape,
        parts=[] if outline is None else polygon([outline]),
        names=tuple(name for name in (title, details, color) if name),
        name=title,
        color=rgb(color) if re.fullmatch("#[0-9a-fA-F]{6}", color) else None,
        note=note,
    )


def _outline(one: Element, shape: str, to_pixels: _Pixels) -> tuple[np.ndarray | None, str]:
    """Return the outline in level-0 pixels, None where it has no area, and what to know of it."""
    if shape == "circle":
        radius = number_of(one.findtext("radius") or "")
        # Pixels may be wider than high.
        radii = checked_points([radius / to_pixels.pixel])[0]
        return ellipse(to_pixels([_pair(one)])[0], radii), ""
    points = to_pixels([_pair(point) for point in one.iterfind("pointlist/point")])
    if (one.findtext("closed") or "0").strip().lower() in ("1", "true"):
        return points, ""
    # Lines are freehand too.
    return (points, CLOSED_LINE) if is_closed(points) else (None, "")


def _pair(element: Element) -> tuple[float, float]:
    x, y = (number_of(element.findtext(tag) or "") for tag in ("x", "y"))
    return x, y


FORMAT = Format("Hamamatsu NDPA", _reads, _parse)
