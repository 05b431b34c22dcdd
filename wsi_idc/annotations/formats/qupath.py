"""Regions as QuPath GeoJSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import geojson
import shapely
from shapely import MultiPolygon, Polygon

from wsi_idc.base.pages.colours import IDC
from wsi_idc.regions.regions import Band, Region

# A class that is new to QuPath takes its colour from the file.
IDC_CLASS = {"name": "IDC", "color": list(IDC)}
# Where a FeatureCollection says what it was made of. QuPath passes over what it does not know there.
ORIGIN = "wsi_idc"


def to_geojson(regions: Sequence[Region], bands: Sequence[Band] = (), origin: Mapping[str, Any] | None = None) -> str:
    """Write regions, and behind them bands, as a FeatureCollection of QuPath annotations, which may be empty.

    `origin` says what they were made of: of which slide and by which model.

    Coordinates are whole pixels of the full-resolution image as QuPath opens it. Same regions, same bytes.
    """
    features = [feature(r.id, r.geometry, _properties(r, number)) for number, r in enumerate(regions, 1)]
    features += [feature(band.id, band.geometry, _band_properties(band)) for band in bands]
    return collection(features, origin)


def collection(features: Sequence[geojson.Feature], origin: Mapping[str, Any] | None = None) -> str:
    """Write features, and their origin beside them, as a FeatureCollection, a line of JSON; same ones, same bytes."""
    said = {ORIGIN: dict(origin)} if origin else {}
    return geojson.dumps(geojson.FeatureCollection(features, **said), allow_nan=False) + "\n"


def feature(identity: str, geometry: Polygon | MultiPolygon, properties: dict[str, Any]) -> geojson.Feature:
    """Return a Feature of an area in whole pixels."""

    def whole(values: Any) -> Any:
        return int(values) if isinstance(values, float) else [whole(v) for v in values]

    # Counter-clockwise shells, as RFC 7946 asks.
    plain = shapely.orient_polygons(geometry).__geo_interface__
    shape = {"type": plain["type"], "coordinates": whole(plain["coordinates"])}
    return geojson.Feature(id=identity, geometry=shape, properties=properties)


def _properties(region: Region, number: int) -> dict[str, Any]:
    return {
        "objectType": "annotation",
        "name": f"IDC {number}",
        "classification": IDC_CLASS,
        "isLocked": False,
        "measurements": {
            "Area mm2": round(region.area_mm2, 6),
            "Perimeter mm": round(region.perimeter_mm, 6),
            "Largest diameter mm": round(region.largest_diameter_mm, 6),
            "Mean probability": round(region.mean_probability, 6),
            "Max probability": round(region.max_probability, 6),
            "95th percentile probability": round(region.p95_probability, 6),
            "Uncertain share": round(region.uncertain_share, 6),
            "Patches": region.patches,
            "Centroid x um": round(region.centroid_um[0], 2),
            "Centroid y um": round(region.centroid_um[1], 2),
            "Touches tissue edge": int(region.touches_tissue_edge),
            "Touches slide edge": int(region.touches_slide_edge),
        }
        | ({} if region.nearest_mm is None else {"Nearest focus mm": round(region.nearest_mm, 6)}),
    }


def _band_properties(band: Band) -> dict[str, Any]:
    """A class of its own for each band: pale for low probabilities, red for high ones."""
    shade = round(200 * (1 - band.low))
    name = f"IDC {band.low:g} to {band.high:g}"
    return {
        "objectType": "annotation",
        "name": name,
        "classification": {"name": name, "color": [200, shade, shade]},
        "isLocked": True,
        "measurements": {"Area mm2": round(band.area_mm2, 6)},
    }
