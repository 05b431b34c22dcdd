"""Areas of geometries: what is left of them as polygons, and how outlines that cross themselves are mended."""

from __future__ import annotations

import shapely
from shapely import MultiPolygon, Polygon

from wsi_idc.base.tangled import Budget, check_tangle, valid_area


def mended(geometry: shapely.Geometry, budget: Budget | None = None) -> Polygon | MultiPolygon | None:
    """Return the area of a drawn outline, valid, or None where it has none.

    An outline that crosses itself encloses what a pen that drew it goes round an odd number of times, as a program
    that fills it shows; lines and points that are left over count for nothing. Raises ValueError where it crosses
    itself so often that it would take hours, or more often than is left of the `budget` of a file.
    """
    if isinstance(geometry, Polygon) and not geometry.is_empty:
        check_tangle(geometry)
        geometry = geometry if geometry.is_valid else valid_area(geometry, budget)
    elif not shapely.is_valid(geometry):
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
