"""QuPath's GeoJSON in all the forms that QuPath itself reads, as drawn; mending and naming come after, in `read`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import shapely
from shapely import Polygon

Color = tuple[int, int, int]
Shape = TypeVar("Shape", bound=shapely.Geometry)


@dataclass(frozen=True, slots=True)
class Drawn:
    """An object of a file of any format before it is mended: its polygons as drawn, in level-0 pixels.

    `parts` is empty for what has no area, and `shape` says what that is. `names` are what may name the class, the best
    first. `layers` says where the object lies; with `cuts` it is no annotation itself but a hole in those of a layer.
    """

    where: str
    shape: str
    parts: Sequence[Polygon]
    names: tuple[str, ...] = ()
    name: str = ""
    color: Color | None = None
    locked: bool = False
    id: str | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)
    layers: frozenset[str] = frozenset()
    cuts: str | None = None
    note: str = ""


def polygon(rings: Sequence[np.ndarray]) -> list[Polygon]:
    """Build a polygon from rings (n, 2), the shell first, closed or not; none from a shell of less than three points.

    Raises ValueError for coordinates that are not finite.
    """
    if not all(np.isfinite(ring).all() for ring in rings):
        raise ValueError("a coordinate is not a finite number")
    if not rings or len(rings[0]) < 3:
        return []
    return [Polygon(rings[0], [ring for ring in rings[1:] if len(ring) >= 3])]


def parse_qupath(document: Any) -> list[Drawn]:
    """Read the objects of a parsed GeoJSON document, children after their parents, whatever the form of its root.

    What is no annotation to QuPath but a cell, a tile or another detection is taken as one, with a note. Raises
    ValueError where it is not GeoJSON.
    """
    try:
        return [_drawn(feature, f"object {n}") for n, feature in enumerate(_walk(_features(document)), 1)]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"is not GeoJSON as QuPath writes it ({type(error).__name__}: {error})") from error


def _features(document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection":
        return list(document["features"])
    if kind == "Feature":
        return [document]
    if kind is not None and ("coordinates" in document or "geometries" in document):
        return [{"geometry": document}]
    raise ValueError("is not GeoJSON: neither a feature, nor features, nor a geometry")


def _walk(features: list[Any]) -> Iterator[dict[str, Any]]:
    # Not by recursion: nothing limits how deep children may lie.
    waiting = features[::-1]
    while waiting:
        feature = waiting.pop()
        yield feature
        waiting += ((feature.get("properties") or {}).get("childObjects") or [])[::-1]


def _drawn(feature: dict[str, Any], where: str) -> Drawn:
    properties, geometry = feature.get("properties") or {}, feature.get("geometry") or {}
    kind, name = properties.get("objectType") or "annotation", properties.get("name") or ""
    classification, class_color = _classification(properties.get("classification"))
    return Drawn(
        where=f"{where}, {name!r}" if name else where,
        shape=geometry.get("type") or "no geometry",
        parts=_parts(geometry),
        names=(classification,) if classification else (),
        name=name,
        # The data model has one colour: that of the class, which is what is written again, before one of its own.
        color=class_color or _color(properties),
        locked=bool(properties.get("isLocked")),
        id=as_uuid(feature.get("id")),
        measurements=_measurements(properties.get("measurements") or {}),
        note=f"is a {kind} in QuPath, taken as an annotation" if kind in ("detection", "tile", "cell") else "",
    )


def _parts(geometry: Mapping[str, Any]) -> list[Polygon]:
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        return [part for one in geometry["geometries"] for part in _parts(one)]
    polygons = {"Polygon": [geometry.get("coordinates")], "MultiPolygon": geometry.get("coordinates")}.get(str(kind))
    # A third coordinate is the plane of a stack.
    rings = [[np.asarray(ring, float).reshape(len(ring), -1)[:, :2] for ring in one or ()] for one in polygons or ()]
    return [part for one in rings for part in polygon(one)]


def _classification(value: Any) -> tuple[str, Color | None]:
    """Return the name, "" for none, and the colour of a class in any of the forms that QuPath has written."""
    if isinstance(value, dict):
        # Derived classes are written as a list by some versions, and read from "A: B" by all.
        names = value.get("names")
        return ": ".join(names) if names else value.get("name") or "", _color(value)
    return value or "", None


def _color(holder: Mapping[str, Any]) -> Color | None:
    """Return the colour that an object or class states, [r, g, b] or the packed ARGB of old versions."""
    if isinstance(listed := holder.get("color"), list):
        red, green, blue = (int(v) for v in listed[:3])
        return red, green, blue
    packed = holder.get("colorRGB", holder.get("color"))
    return None if packed is None else (packed >> 16 & 255, packed >> 8 & 255, packed & 255)


def _measurements(value: Any) -> dict[str, float]:
    pairs = value.items() if isinstance(value, dict) else ((m["name"], m["value"]) for m in value)
    # Counts stay whole numbers, so that what is read is written again as it was. Java's "Infinity" is float's too.
    return {name: v if isinstance(v, int) else float(v) for name, v in pairs if v is not None}


def as_uuid(value: Any) -> str | None:
    """Return an id that QuPath keeps, in its usual form; it ignores whatever is no UUID."""
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def normal(geometry: Shape) -> Shape:
    """Return a valid geometry in the form that all with its corners have, whatever their order was."""
    return shapely.normalize(shapely.remove_repeated_points(geometry))
