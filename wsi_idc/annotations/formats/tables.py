"""Annotations as a table for analysts: GeoPackage or GeoParquet, by geopandas (the extra `tables`)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.base.files import replacing

# Columns of the table itself; a measurement of such a name is told apart by a prefix.
_COLUMNS = ("id", "classification", "name", "color", "locked", "area_px2", "area_mm2", "geometry", "fid")


def write_table(path: Path, annotations: Sequence[Annotation], mpp: tuple[float, float] | None = None) -> None:
    """Write one row for each annotation, with a column for each measurement; .gpkg or .parquet by the suffix.

    Geometry is in level-0 pixels, y down, without a coordinate reference system; `area_px2` is in those. `mpp` (x, y),
    in um per level-0 pixel, adds `area_mm2`. Raises OutputError where it cannot be written, ImportError without
    geopandas.
    """
    import geopandas

    frame = geopandas.GeoDataFrame(_columns(annotations, mpp), geometry=[a.geometry for a in annotations], crs=None)
    with replacing(path) as temporary, warnings.catch_warnings():
        # Pixels of a slide have no coordinate reference system.
        warnings.filterwarnings("ignore", message="'crs' was not provided")
        if path.suffix.lower() == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_file(temporary, driver="GPKG", layer="annotations", engine="pyogrio")


def _columns(annotations: Sequence[Annotation], mpp: tuple[float, float] | None) -> dict[str, Any]:
    area = shapely.area([a.geometry for a in annotations])
    # Of these types where there is no row to tell them from.
    columns: dict[str, Any] = {
        "id": np.array([a.id for a in annotations], object),
        "classification": np.array([a.classification for a in annotations], object),
        "name": np.array([a.name for a in annotations], object),
        "color": np.array([_color(a) for a in annotations], object),
        "locked": np.array([a.locked for a in annotations], bool),
        "area_px2": np.asarray(area, float),
    }
    if mpp is not None:
        columns["area_mm2"] = columns["area_px2"] * mpp[0] * mpp[1] / 1e6
    for name in dict.fromkeys(name for a in annotations for name in a.measurements):
        column = f"measurement {name}" if name.lower() in _COLUMNS else name
        columns[column] = np.array([a.measurements.get(name, np.nan) for a in annotations], float)
    return columns


def _color(annotation: Annotation) -> str | None:
    return None if annotation.color is None else f"#{bytes(annotation.color).hex()}"
