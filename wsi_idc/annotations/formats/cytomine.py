"""Cytomine: annotations as its server gives them, JSON with well-known text, or such text itself, a line for each.

Its y runs upwards from the lower edge of the image, so that the height of the slide is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import shapely

from wsi_idc.annotations.drawn import Drawn, polygon
from wsi_idc.annotations.shapes import checked_points, is_closed
from wsi_idc.annotations.source import Format, Source, read_each

# Of a multipolygon: parts, rings, points. A deeper nesting would take the parser's stack.
_DEEPEST = 4


def _records(document: Any) -> list[Any]:
    if isinstance(document, dict):
        held = document.get("collection")
        return held if isinstance(held, list) else [document]
    return document if isinstance(document, list) else []


def _reads(document: Any) -> bool:
    if isinstance(document, str):
        return True
    records = _records(document)
    if isinstance(document, dict) and "collection" in document and not records:
        return True
    return bool(records) and isinstance(records[0], dict) and isinstance(records[0].get("location"), str)


def _parse(document: Any, source: Source) -> Iterator[Drawn]:
    """Read the locations; the class is the first term, by name where the file has names, else by number.

    Raises DataError without a slide.
    """
    if isinstance(document, str):
        records: list[Any] = [{"location": line} for line in document.splitlines() if line.strip()]
    else:
        records = _records(document)
    height = source.frame("is Cytomine's, where y runs upwards from the lower edge of the slide").size[1]
    found = ((_where(one, n), one) for n, one in enumerate(records, 1))
    return read_each(found, lambda one, where: _drawn(one, where, height))


def _where(one: Any, number: int) -> str:
    return f"annotation {one.get('id', number) if isinstance(one, dict) else number}"


def _drawn(one: Mapping[str, Any], where: str, height: int) -> Drawn:
    shape = _geometry(one["location"])
    parts, note = [], ""
    for part in shapely.get_parts(shape):
        if part.geom_type == "Polygon":
            rings = [part.exterior, *part.interiors]
        elif part.geom_type == "LineString" and is_closed(shapely.get_coordinates(part)):
            rings, note = [part], "a closed line, taken as the area within it"
        else:
            continue
        parts += polygon([checked_points(shapely.get_coordinates(ring) * (1, -1) + (0, height)) for ring in rings])
    return Drawn(where, type(shape).__name__, parts, names=_terms(one), note=note)


def _geometry(text: str) -> shapely.Geometry:
    text = re.sub(r"^\s*SRID=\d+;", "", text)
    depth = deepest = 0
    for bracket in re.findall("[()]", text):
        depth += 1 if bracket == "(" else -1
        deepest = max(deepest, depth)
    if deepest > _DEEPEST or not re.match(r"\s*(MULTI)?(POLYGON|LINESTRING|POINT)\b", text, re.IGNORECASE):
        raise ValueError("its location is not a polygon as well-known text")
    try:
        return shapely.from_wkt(text)
    except shapely.errors.GEOSException as error:
        raise ValueError(f"its location is not well-known text ({error})") from error


def _terms(one: Mapping[str, Any]) -> tuple[str, ...]:
    terms = one.get("term") or one.get("terms") or ()
    listed = terms if isinstance(terms, list) else [terms]
    named = [term.get("name", term.get("id")) if isinstance(term, dict) else term for term in listed]
    return tuple(str(term) for term in named if isinstance(term, int | str) and str(term))


FORMAT = Format("Cytomine WKT", _reads, _parse)
