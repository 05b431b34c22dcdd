"""Annotations to files of other programs, and what a heatmap gives them: tiles for QuPath, labels on its grid."""

from __future__ import annotations

import gzip
import math
import uuid
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast

import geojson
import numpy as np
import shapely
from shapely import MultiPolygon, Polygon, STRtree

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.drawn import Color, normal
from wsi_idc.annotations.formats.asap import asap_xml
from wsi_idc.annotations.formats.imagescope import imagescope_xml
from wsi_idc.annotations.formats.qupath import IDC_CLASS, collection, feature
from wsi_idc.annotations.formats.qupath_in import as_uuid
from wsi_idc.annotations.raster import centres_inside
from wsi_idc.base.disk.folders import new_folder
from wsi_idc.base.files import replacing
from wsi_idc.base.grid import Grid
from wsi_idc.base.polygons import area_of, polygons_of
from wsi_idc.errors import DataError, FormatError
from wsi_idc.heatmap.store import read_grid, read_heatmap, write_heatmap

Style = Literal["asap", "imagescope"]
GEOJSON = (".geojson", ".json", ".geojson.gz", ".json.gz")
TABLES = (".gpkg", ".parquet")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://wsi-idc/annotations")


def write_annotations(
    path: Path,
    annotations: Sequence[Annotation],
    *,
    mpp: tuple[float, float] | None = None,
    style: Style = "asap",
    origin: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write annotations in the format of the suffix: .geojson or .json (also .gz), .xml, .gpkg or .parquet.

    `style` says whose XML. `mpp` (x, y), in um per level-0 pixel, adds lengths and areas in um or mm where the format
    has a place for them; `origin`, what they were made of, is kept by GeoJSON alone. Returns in words what the format
    could not hold, one line each. Raises FormatError for another suffix, OutputError where it cannot be written.
    """
    check_format(path)
    name = path.name.lower()
    if name.endswith(TABLES):
        from wsi_idc.annotations.formats.tables import write_table

        write_table(path, annotations, mpp)
        return []
    if name.endswith(GEOJSON):
        content, notes = _geojson(annotations, origin)
    else:
        colors = [_color(a) for a in annotations]
        notes = _shadowed(annotations, across=style == "asap")
        content = asap_xml(annotations, colors) if style == "asap" else imagescope_xml(annotations, colors, mpp)
    _put(path, content)
    return notes


def check_format(path: Path) -> None:
    """Raise FormatError where annotations have no format of the suffix of `path`."""
    if not path.name.lower().endswith((*GEOJSON, ".xml", *TABLES)):
        raise FormatError(f"{path}: no format for this suffix; give {', '.join([*GEOJSON, '.xml', *TABLES])}")


def _put(path: Path, content: bytes) -> None:
    # Without the time of writing: same annotations, same bytes.
    packed = gzip.compress(content, mtime=0) if path.suffix.lower() == ".gz" else content
    with replacing(path) as temporary:
        temporary.write_bytes(packed)


def _geojson(annotations: Sequence[Annotation], origin: Mapping[str, Any] | None) -> tuple[bytes, list[str]]:
    """Write QuPath annotations in whole pixels as UTF-8; returns notes of those smaller than a pixel beside it."""
    features = []
    notes: list[str] = []
    seen: set[str] = set()
    for number, annotation in enumerate(annotations, 1):
        if (geometry := whole_pixels(annotation.geometry)) is None:
            notes.append(f"annotation {number}: nothing of it is left in whole pixels, left out")
            continue
        identity = _identity(annotation, geometry, seen)
        features.append(feature(identity, geometry, _properties(annotation)))
    return collection(features, origin).encode(), notes


def whole_pixels(geometry: Polygon | MultiPolygon) -> Polygon | MultiPolygon | None:
    """Return the area with corners on whole pixels, valid, in a normal form; None where nothing of it is left.

    What is on whole pixels already stays as it is.
    """
    # Corner by corner where that is valid: it changes nothing the second time, as snapping rounds of edges may.
    rounded = shapely.transform(geometry, np.round)
    if not rounded.is_valid:
        rounded = shapely.transform(shapely.set_precision(geometry, 1.0), np.round)
    area = area_of(rounded)
    return None if area.is_empty else normal(area)


def _identity(annotation: Annotation, geometry: shapely.Geometry, seen: set[str]) -> str:
    """Return the id of an annotation, or one made from what it is; no two of a file are the same."""
    identity = as_uuid(annotation.id)
    parts = (annotation.classification or "", annotation.name, shapely.to_wkb(geometry, hex=True, byte_order=1))
    again = 0
    while identity is None or identity in seen:
        identity = str(uuid.uuid5(_NAMESPACE, "\n".join([*parts, str(again)])))
        again += 1
    seen.add(identity)
    return identity


def _properties(annotation: Annotation) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": "annotation"}
    # QuPath reads no null: what there is not has no key.
    if annotation.name:
        properties["name"] = annotation.name
    if annotation.classification:
        properties["classification"] = {"name": annotation.classification, "color": list(_color(annotation))}
    elif annotation.color:
        properties["color"] = list(annotation.color)
    properties["isLocked"] = annotation.locked
    if annotation.measurements:
        properties["measurements"] = {name: _finite(value) for name, value in annotation.measurements.items()}
    return properties


def _finite(value: float) -> float | str:
    """Return what JSON can hold of a number; QuPath reads the others as words."""
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _color(annotation: Annotation) -> Color:
    """Return the colour of an annotation, or one of its class that is the same in every file."""
    if annotation.color is not None:
        return annotation.color
    if annotation.classification in (None, IDC_CLASS["name"]):
        red, green, blue = cast(list[int], IDC_CLASS["color"])
    else:
        red, green, blue = sha256(str(annotation.classification).encode()).digest()[:3]
    return red, green, blue


def _shadowed(annotations: Sequence[Annotation], across: bool) -> list[str]:
    """Say which holes lie under another annotation of the class, where XML cannot tell whose hole it is.

    With `across` the holes of what has no class cut all classes.
    """
    notes: list[str] = []
    tree = STRtree([a.geometry for a in annotations])
    for number, annotation in enumerate(annotations, 1):
        for ring in (ring for part in polygons_of(annotation.geometry) for ring in part.interiors):
            hole = Polygon(ring)
            for i in sorted(set(tree.query(hole, predicate="intersects").tolist()) - {number - 1}):
                other = annotations[i]
                same = other.classification == annotation.classification or (across and not annotation.classification)
                lies_in = other.geometry.intersection(hole).area > 0 and not hole.covers(other.geometry)
                if same and lies_in:
                    notes.append(f"annotation {i + 1}: lies over a hole of annotation {number}, which cuts it as well")
    return notes


def open_heatmap(path: Path) -> tuple[np.ndarray, dict[str, Any], Grid]:
    """Read the heatmap of a run, given by its folder or the store in it: (rows, cols) float32, provenance, grid.

    Raises DataError where there is none.
    """
    store = path / "heatmap.zarr" if (path / "heatmap.zarr").is_dir() else path
    return *read_heatmap(store), read_grid(store)


def write_tiles(path: Path, heatmap: Path) -> int:
    """Write the computed patches of a run as QuPath tiles (.geojson or .json, also .gz), and return how many.

    A tile is a rectangle in whole level-0 pixels within the slide; it has the measurement "Probability", and the class
    IDC from the threshold of the run. Raises FormatError for another suffix, DataError for no heatmap, OutputError.
    """
    if not path.name.lower().endswith(GEOJSON):
        raise FormatError(f"{path}: tiles are written as GeoJSON; give a name with {', '.join(GEOJSON)}")
    values, provenance, grid = open_heatmap(heatmap)
    rows, cols = np.nonzero(np.isfinite(values))
    key = f"{provenance['slide_fingerprint']} {provenance['model_sha256']} {provenance['patch_um']}"
    # Neighbours share their corners, so that rounding leaves no gap between them.
    low = np.rint(grid.to_level0(np.column_stack([cols, rows]))).astype(int)
    high = np.minimum(np.rint(grid.to_level0(np.column_stack([cols + 1, rows + 1]))), grid.slide_size).astype(int)
    idc = values[rows, cols] >= provenance["parameters"]["threshold"]
    features = [
        _tile(uuid.uuid5(_NAMESPACE, f"{key} {row} {col}"), corner, end, value, is_idc)
        for row, col, corner, end, value, is_idc in zip(
            rows.tolist(), cols.tolist(), low.tolist(), high.tolist(), values[rows, cols].tolist(), idc, strict=True
        )
    ]
    _put(path, collection(features).encode())
    return len(rows)


def _tile(
    identity: uuid.UUID, low: Sequence[int], high: Sequence[int], probability: float, is_idc: bool
) -> geojson.Feature:
    properties: dict[str, Any] = {"objectType": "tile", "isLocked": False}
    if is_idc:
        properties["classification"] = IDC_CLASS
    properties["measurements"] = {"Probability": round(probability, 6)}
    (left, top), (right, bottom) = low, high
    return feature(str(identity), shapely.box(left, top, right, bottom), properties)


def write_labels(path: Path, annotations: Sequence[Annotation], like: Path) -> list[str]:
    """Write annotations as OME-Zarr labels over the grid of a run's heatmap, which is the image that they label.

    Each class is a label image, (rows, cols) uint32: the number of the annotation, from 1 in the order of the file, of
    which the patch has its centre in, the last one's where several do; else 0. Without a class it is "unclassified".
    Returns in words which annotations hold no centre of a patch. Raises DataError for the heatmap or a class name that
    cannot be a folder, OutputError where `path` is neither new nor empty, or cannot be written.
    """
    values, provenance, grid = open_heatmap(like)
    labels: dict[str, np.ndarray] = {}
    notes: list[str] = []
    for number, annotation in enumerate(annotations, 1):
        name = annotation.classification or "unclassified"
        if not name.strip(".") or name.startswith("__") or set(name) & set('/\\:*?"<>|'):
            raise DataError(f"{path}: class {name!r} cannot name a folder; give it another with --class {name}=NEW")
        label = labels.setdefault(name, np.zeros(values.shape, np.uint32))
        around, inside = centres_inside(annotation.geometry, grid.step, label.shape)
        label[around][inside] = number
        if not inside.any():
            notes.append(f"annotation {number}: holds no centre of a patch, not in the labels")
    with new_folder(path) as place:
        write_heatmap(place, values, grid, labels, grid, provenance)
    return notes
