"""Heatmap to regions: polygons with holes along the patches at the threshold, with their measurements."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import numpy as np
import shapely
from scipy.ndimage import find_objects, label
from shapely import MultiPolygon, Polygon

from wsi_idc.grid import Grid

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://wsi-idc/regions")


@dataclass(frozen=True, slots=True)
class Region:
    """A connected area of IDC; `geometry` is in whole level-0 pixels, lengths and areas in mm, centroid in um."""

    id: str
    geometry: Polygon | MultiPolygon
    area_mm2: float
    perimeter_mm: float
    largest_diameter_mm: float
    mean_probability: float
    max_probability: float
    p95_probability: float
    patches: int
    centroid_um: tuple[float, float]


def find_regions(
    heatmap: np.ndarray,
    grid: Grid,
    threshold: float,
    *,
    min_area_mm2: float = 0.0,
    smooth_um: float = 0.0,
    key: str = "",
) -> tuple[list[Region], np.ndarray]:
    """Outline the patches with a probability of at least `threshold`.

    `heatmap` is (rows, cols) with NaN for no tissue. Patches that share a side belong together (4-connected), so rings
    never cross themselves. Regions under `min_area_mm2` are left out. `smooth_um` straightens the steps of the outline
    by Douglas-Peucker: no vertex moves, and no point of the old outline is further from the new one than this. `key`
    enters the ids, which are the same for the same key and outline.

    Returns the regions from the largest down, and (rows, cols) uint32 with the number of the region (from 1) or 0.
    """
    with np.errstate(invalid="ignore"):
        components, _ = label(heatmap >= threshold)
    found = []
    for number, window in enumerate(find_objects(components), 1):
        rows, cols = (i + w.start for i, w in zip(np.nonzero(components[window] == number), window, strict=True))
        geometry = _outline(rows, cols, grid, smooth_um)
        region = _measure(geometry, heatmap[rows, cols], grid, key)
        if region.area_mm2 >= min_area_mm2 and not geometry.is_empty:
            found.append((region, rows, cols))
    found.sort(key=lambda f: (-f[0].area_mm2, f[0].geometry.bounds))
    numbers = np.zeros(heatmap.shape, np.uint32)
    for number, (_, rows, cols) in enumerate(found, 1):
        numbers[rows, cols] = number
    return [region for region, _, _ in found], numbers


def _outline(rows: np.ndarray, cols: np.ndarray, grid: Grid, smooth_um: float) -> Polygon | MultiPolygon:
    """Trace the outer edges of patches and round them to whole level-0 pixels within the slide."""
    # Squares of one grid share their corners exactly, which is what a coverage union needs.
    outline = shapely.coverage_union_all(shapely.box(cols, rows, cols + 1, rows + 1))
    outline = shapely.simplify(outline, smooth_um / grid.patch_um, preserve_topology=True)
    outline = shapely.transform(outline, grid.to_level0)
    outline = shapely.intersection(outline, shapely.box(0, 0, *grid.slide_size))
    # Rounds and repairs in one go: the result is valid on the grid of whole pixels.
    outline = shapely.set_precision(outline, 1.0)
    parts = [p for p in shapely.get_parts(outline) if isinstance(p, Polygon) and p.area > 0]
    return shapely.normalize(parts[0] if len(parts) == 1 else MultiPolygon(parts))


def _measure(geometry: Polygon | MultiPolygon, values: np.ndarray, grid: Grid, key: str) -> Region:
    scale = np.array(grid.slide_mpp)
    physical = shapely.transform(geometry, lambda xy: xy * scale)
    identity = uuid.uuid5(_NAMESPACE, key + shapely.to_wkb(geometry, hex=True, byte_order=1))
    centre = physical.centroid
    return Region(
        id=str(identity),
        geometry=geometry,
        area_mm2=physical.area / 1e6,
        perimeter_mm=physical.length / 1e3,
        largest_diameter_mm=largest_diameter(physical) / 1e3,
        mean_probability=float(values.mean(dtype=np.float64)),
        max_probability=float(values.max()),
        p95_probability=float(np.percentile(values.astype(np.float64), 95)),
        patches=int(values.size),
        centroid_um=(0.0, 0.0) if geometry.is_empty else (centre.x, centre.y),
    )


def largest_diameter(geometry: shapely.Geometry) -> float:
    """Return the largest distance between two points of a geometry, in its own unit (maximum Feret diameter)."""
    corners = shapely.get_coordinates(shapely.convex_hull(geometry))
    if not len(corners):
        return 0.0
    return float(np.sqrt(((corners[:, None] - corners[None]) ** 2).sum(-1)).max())
