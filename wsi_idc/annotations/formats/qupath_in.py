"""QuPath's GeoJSON in all the forms that QuPath itself reads, as drawn; mending and naming come after, in `finish`."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from shapely import Polygon

from wsi_idc.annotations.drawn import Color, Drawn, polygon
from wsi_idc.annotations.geojson import features_of, walk
from wsi_idc.annotations.shapes import CLOSED_LINE, checked_points, is_closed
from wsi_idc.annotations.source import Format, Source, read_each


def _reads(document: Any) -> bool:
    return isinstance(document, dict | list)


def _parse(document: Any, source: Source) -> Iterator[Drawn]:
    """Read the objects of a GeoJSON document, children after their parents, whatever the form of its root.

    What is no annotation to QuPath but a cell, a tile or the core of an array is taken as one, with a note. Raises
    ValueError where it is not GeoJSON.
    """
    features = features_of(document)
    if features and not any(isinstance(f, dict) and ("geometry" in f or "properties" in f) for f in features):
        raise ValueError("is not GeoJSON: what it lists are no features")
    return read_each(((f"object {n}", one) for n, one in enumerate(walk(features), 1)), _drawn)


def _drawn(feature: Any, where: str) -> Drawn:
    properties, geometry = feature.get("properties") or {}, feature.get("geometry") or {}
    kind, name = properties.get("objectType") or "annotation", _text(properties.get("name"))
    classification, class_color = _classification(properties.get("classification"))
    measurements, unread = _measurements(properties.get("measurements") or {})
    parts, closed = _parts(geometry)
    notes = [f"is a {kind} in QuPath, taken as an annotation"] if kind != "annotation" else []
    notes += [CLOSED_LINE] if closed else []
    notes += ["measurements that are no numbers, left out"] if unread else []
    return Drawn(
        where=f"{where}, {name!r}" if name else where,
        shape=str(geometry.get("type") or "no geometry"),
        parts=parts,
        names=(classification,) if classification else (),
        name=name,
        # The data model has one colour: that of the class, which is what is written again, before one of its own.
        color=class_color or _color(properties),
        locked=bool(properties.get("isLocked")),
        id=as_uuid(feature.get("id")),
        measurements=measurements,
        note="; ".join(notes),
    )


def _parts(geometry: Mapping[str, Any]) -> tuple[list[Polygon], bool]:
    """Return the polygons of a geometry, and whether some are lines that end where they began."""
    kind, coordinates = geometry.get("type"), geometry.get("coordinates") or ()
    if kind == "GeometryCollection":
        found = [_parts(one) for one in geometry["geometries"]]
        return [part for parts, _ in found for part in parts], any(closed for _, closed in found)
    if kind in ("LineString", "MultiLineString"):
        lines = [checked_points(line) for line in ([coordinates] if kind == "LineString" else coordinates)]
        parts = [part for line in lines if is_closed(line) for part in polygon([line])]
        return parts, bool(parts)
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(str(kind), ())
    return [part for rings in polygons for part in polygon(rings or ())], False


def _text(value: Any) -> str:
    """Return a name; numbers are names too, and whatever else stands there is none."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _classification(value: Any) -> tuple[str, Color | None]:
    """Return the name, "" for none, and the colour of a class in any of the forms that QuPath has written.

    Raises TypeError for another one: the object might be of any class.
    """
    color = None
    if isinstance(value, dict):
        color = _color(value)
        # Derived classes are written as a list by some versions, and read from "A: B" by all.
        value = value.get("names") or value.get("name")
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        value = ": ".join(value)
    if value is not None and not isinstance(value, str):
        raise TypeError(f"its classification is of the kind {type(value).__name__}")
    return (value or "").strip(), color


def _color(holder: Mapping[str, Any]) -> Color | None:
    """Return the colour that an object or class states, [r, g, b] or the packed ARGB of old versions; else None."""
    color, packed = holder.get("color"), holder.get("colorRGB", holder.get("color"))
    if isinstance(color, list):
        if len(color) < 3 or not all(isinstance(v, int | float) and 0 <= v <= 255 for v in color[:3]):
            return None
        red, green, blue = (int(v) for v in color[:3])
        return red, green, blue
    return (packed >> 16 & 255, packed >> 8 & 255, packed & 255) if isinstance(packed, int) else None


def _measurements(value: Any) -> tuple[dict[str, float], int]:
    """Return the measurements by name, and how many are no numbers; a bad one does not cost the outline."""
    if isinstance(value, dict):
        pairs = list(value.items())
    else:
        listed = [m for m in value if isinstance(m, dict)] if isinstance(value, list) else []
        pairs = [(str(m.get("name", "")), m.get("value")) for m in listed]
    numbers: dict[str, float] = {}
    unread = 0
    for name, v in pairs:
        try:
            # Counts stay whole numbers, so that what is read is written again as it was. Java's "Infinity" is float's.
            if v is not None:
                numbers[name] = v if isinstance(v, int) and math.isfinite(v) else float(v)
        except (ValueError, TypeError, OverflowError):
            unread += 1
    return numbers, unread


def as_uuid(value: Any) -> str | None:
    """Return an id that QuPath keeps, in its usual form; it ignores whatever is no UUID."""
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


FORMAT = Format("QuPath GeoJSON", _reads, _parse)
