"""What is outlined on a slide, whatever program it was drawn in, and how outlines that cross themselves are mended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import shapely
from shapely import MultiPolygon, Polygon

# What says which part of a slide was looked at; the second is a class that QuPath has from the start.
ROI_CLASSES = ("ROI", "Region*")


@dataclass(frozen=True, slots=True)
class Annotation:
    """An outline of a class on a slide: a valid polygon, or several, with holes, in level-0 pixels as QuPath shows it.

    `classification` is None where the file names no class. `color` is RGB, 0 to 255.
    """

    geometry: Polygon | MultiPolygon
    classification: str | None = None
    name: str = ""
    color: tuple[int, int, int] | None = None
    locked: bool = False
    id: str | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """The annotations of a file, and in words what had to be mended or left out of it, one line each."""

    annotations: list[Annotation]
    notes: list[str] = field(default_factory=list)


def mended(geometry: shapely.Geometry) -> Polygon | MultiPolygon | None:
    """Return the area of a drawn outline, valid, or None where it has none.

    An outline that crosses itself encloses what a pen that drew it goes round an odd number of times, as a program
    that fills it shows; lines and points that are left over count for nothing.
    """
    if not shapely.is_valid(geometry):
        geometry = shapely.make_valid(geometry, method="linework")
    area = area_of(geometry)
    return None if area.is_empty else area


def area_of(geometry: shapely.Geometry) -> Polygon | MultiPolygon:
    """Return what of a geometry is area, as a Polygon where that is one piece; an empty MultiPolygon without any."""
    parts = [p for p in polygons_of(geometry) if p.area > 0]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def polygons_of(geometry: shapely.Geometry) -> list[Polygon]:
    """Return the polygons of a geometry; lines and points, which overlaying areas leaves, are left out."""
    if isinstance(geometry, Polygon):
        return [geometry]
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in polygons_of(part)]
