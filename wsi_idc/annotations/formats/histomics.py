"""Annotations of the Digital Slide Archive, HistomicsUI and HistomicsTK: JSON with elements (large_image)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wsi_idc.annotations.drawn import Color, Drawn, polygon
from wsi_idc.annotations.formats.qupath_in import as_uuid
from wsi_idc.annotations.shapes import checked_points, ellipse, is_closed, rectangle
from wsi_idc.annotations.source import Format, Source, read_each

_BOXES = ("rectangle", "rectanglegrid", "ellipse", "circle")


def _reads(document: Any) -> bool:
    first = document[0] if isinstance(document, list) and document else document
    return isinstance(first, dict) and isinstance(_inner(first).get("elements"), list)


def _inner(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the annotation in a record of the server, which keeps facts of its own beside it."""
    inner = document.get("annotation")
    return inner if isinstance(inner, dict) else document


def _parse(document: Any, source: Source) -> Iterator[Drawn]:
    """Read the elements of one annotation document or a list of them.

    What may name the class: the group of the element, its label, the name of its document.
    """
    documents = document if isinstance(document, list) else [document]
    return read_each(_elements(documents), _drawn)


def _elements(documents: list[Any]) -> Iterator[tuple[str, Any]]:
    for number, record in enumerate(documents, 1):
        inner = _inner(record) if isinstance(record, dict) else {}
        elements = inner.get("elements")
        where = f"document {number}, " if len(documents) > 1 else ""
        if not isinstance(elements, list):
            yield f"document {number}", (None, "")
            continue
        for n, element in enumerate(elements, 1):
            yield f"{where}element {n}", (element, inner.get("name"))


def _drawn(one: tuple[Any, Any], where: str) -> Drawn:
    element, document_name = one
    shape = str(element["type"])
    label = element.get("label")
    label = label.get("value") if isinstance(label, dict) else label
    names = [n.strip() for n in (element.get("group"), label, document_name) if isinstance(n, str) and n.strip()]
    name = label if isinstance(label, str) else ""
    rings, note = _rings(element, shape)
    return Drawn(
        where=f"{where}, {name!r}" if name else where,
        shape=shape,
        parts=polygon(rings),
        names=tuple(names),
        name=name,
        color=_color(element.get("lineColor")),
        id=as_uuid(element.get("id")),
        note=note,
    )


def _rings(element: Mapping[str, Any], shape: str) -> tuple[list[np.ndarray], str]:
    """Return the outline and its holes, none where it has no area, and what to know of it."""
    if shape in _BOXES:
        centre = checked_points([element["center"]])[0]
        if shape == "circle":
            sides = [2 * float(element["radius"])] * 2
        else:
            sides = [float(element["width"]), float(element["height"])]
        radius = checked_points([sides])[0] / 2
        rotation = float(element.get("rotation") or 0)
        draw = rectangle if shape.startswith("rectangle") else ellipse
        return [draw(centre, radius, rotation)], ""
    if shape != "polyline":
        return [], ""
    points = checked_points(element["points"])
    if element.get("closed"):
        return [points, *(checked_points(hole) for hole in element.get("holes") or ())], ""
    return ([points], "a closed line, taken as the area within it") if is_closed(points) else ([], "")


def _color(text: Any) -> Color | None:
    """Return a colour from "rgb(r, g, b)", "rgba(r, g, b, a)" or "#rrggbb"; None from anything else."""
    if not isinstance(text, str):
        return None
    if match := re.match(r"rgba?\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\b", text):
        red, green, blue = (int(value) for value in match.groups())
    elif re.fullmatch("#[0-9a-fA-F]{6}", text):
        red, green, blue = bytes.fromhex(text[1:])
    else:
        return None
    return (red, green, blue) if max(red, green, blue) < 256 else None


FORMAT = Format("HistomicsUI JSON", _reads, _parse)
