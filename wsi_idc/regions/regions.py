"""Probabilities to regions: polygons with holes along a probability, with their measurements."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import contourpy
import numpy as np
import shapely
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, find_objects, label
from shapely import MultiPolygon, Polygon

from wsi_idc.base.grid import Grid
from wsi_idc.base.polygons import area_of, polygons_of
from wsi_idc.regions.interpolate import Field
from wsi_idc.regions.outlining import Outlining

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://wsi-idc/regions")
# Probabilities that are as good as undecided: the share of a region between these is its uncertainty.
UNCERTAIN = (0.3, 0.7)
# What is measured of the regions of a slide together.
_OF_REGIONS = (
    *("idc_mm2", "idc_share", "foci", "slivers", "slivers_mm2", "largest_extent_mm", "nearest_foci_mm"),
    *("uncertain_share", "foci_at_tissue_edge", "foci_at_slide_edge"),
)
# Pixels of a field a side that are looked at together, or not at all, when outlines are traced.
_TILE = 64


@dataclass(frozen=True, slots=True)
class Region:
    """A connected area of IDC; `geometry` is in whole level-0 pixels, lengths and areas in mm, centroid in um.

    `uncertain_share` is the share of its area with a probability within UNCERTAIN, `nearest_mm` the gap to the nearest
    other region (None for a single one); it touches an edge where the section, or the slide, ends beside it.
    """

    id: str
    geometry: Polygon | MultiPolygon
    area_mm2: float
    perimeter_mm: float
    largest_diameter_mm: float
    mean_probability: float
    max_probability: float
    p95_probability: float
    uncertain_share: float
    patches: int
    centroid_um: tuple[float, float]
    nearest_mm: float | None
    touches_tissue_edge: bool
    touches_slide_edge: bool


@dataclass(frozen=True, slots=True)
class Band:
    """Where the probability is at least `low` and below `high`; `geometry` is in whole level-0 pixels."""

    id: str
    low: float
    high: float
    geometry: MultiPolygon
    area_mm2: float


def find_regions(
    field: Field, outlining: Outlining, per_side: int = 1, key: str = ""
) -> tuple[list[Region], list[Region], np.ndarray]:
    """Outline where the probability of a field is high enough.

    `per_side` pixels of the field lie along the side of a patch. `key` enters the ids, which are the same for the same
    key and outline.

    Returns the regions from the largest down, those that are smaller than the smallest focus (slivers) likewise, and
    (h, w) uint32 with the number of the region (from 1) or 0.
    """
    found: list[Polygon | MultiPolygon] = []
    for outline in _traced(field, outlining.level, 2.0):
        geometry = _finished(outline, field, outlining)
        if geometry is not None:
            found.append(geometry)
    if outlining.min_hole_mm2:
        # An island in a hole that was filled is part of what fills it.
        found = [*polygons_of(shapely.union_all(found))]
    found.sort(key=lambda g: (-g.area, g.bounds))
    numbers = _painted(found, field)
    numbers[field.values < outlining.level] = 0
    inside = np.flatnonzero(numbers)
    order = inside[np.argsort(numbers.ravel()[inside], kind="stable")]
    starts = np.searchsorted(numbers.ravel()[order], np.arange(1, len(found) + 2))
    pixels = [order[a:b] for a, b in pairwise(starts)]
    kept = [
        (geometry, at)
        for geometry, at in zip(found, pixels, strict=True)
        if len(at) and field.values.ravel()[at].max() >= outlining.peak
    ]
    smallest = outlining.min_area_mm2 or 0.0
    count = sum(_mm2(geometry, field.grid) >= smallest for geometry, _ in kept)
    # How far apart foci are does not depend on what is none.
    gaps = [*_gaps([geometry for geometry, _ in kept[:count]], field), *[None] * (len(kept) - count)]
    edge = binary_dilation(~field.tissue, np.ones((3, 3), bool), border_value=0).ravel()
    regions = [
        _measured(geometry, at, gap, field, edge, per_side, key) for (geometry, at), gap in zip(kept, gaps, strict=True)
    ]
    final = np.zeros(field.values.size, np.uint32)
    for number, (_, at) in enumerate(kept[:count], 1):
        final[at] = number
    return regions[:count], regions[count:], final.reshape(field.values.shape)


def find_bands(field: Field, edges: Sequence[float], smooth_um: float, key: str = "") -> list[Band]:
    """Outline where the probability lies between each two of `edges` and from the last on; bands without area are none.

    `key` enters the ids.
    """
    outlining = Outlining(edges[0], smooth_um=smooth_um)
    bands = []
    for low, high in zip(edges, [*edges[1:], 1.0], strict=True):
        # At 1 itself too.
        outlines = [_finished(o, field, outlining) for o in _traced(field, low, high if high < 1 else 2.0)]
        parts = [part for outline in outlines if outline is not None for part in polygons_of(outline)]
        if parts:
            geometry = shapely.normalize(MultiPolygon(polygons_of(shapely.union_all(parts, grid_size=1.0))))
            area = _mm2(geometry, field.grid)
            identity = uuid.uuid5(_NAMESPACE, f"{key}{low}{high}" + shapely.to_wkb(geometry, hex=True, byte_order=1))
            bands.append(Band(str(identity), low, high, geometry, area))
    return bands


def _traced(field: Field, low: float, high: float) -> list[Polygon]:
    """Trace where low <= probability < high, between the centres of pixels (marching squares), in pixels (x, y).

    Outlines close beyond the border of the slide, where they are cut off later.
    """
    beyond = np.zeros([n + 4 for n in field.values.shape], np.float32)
    beyond[1:-1, 1:-1] = np.pad(field.values, 1, mode="edge")
    outlines = []
    for rows, cols in _boxes(beyond >= low):
        # Numbered as in the slide: else coordinates would depend on the box in their last bits.
        across, down = (np.arange(s.start, min(s.stop, n)) for s, n in ((cols, beyond.shape[1]), (rows, len(beyond))))
        generator = contourpy.contour_generator(across, down, beyond[rows, cols], fill_type="OuterOffset")
        points, offsets = generator.filled(low, high)  # type: ignore[misc]
        for xy, ends in zip(points, offsets, strict=True):
            # The centre of the slide's first pixel is at 0.5.
            rings = [xy[first:end] - 1.5 for first, end in pairwise(ends)]
            outlines.append(Polygon(rings[0], rings[1:]))
    return outlines


def _boxes(inside: np.ndarray) -> list[tuple[slice, slice]]:
    """Return boxes of (h, w) bool that hold every True pixel and the ring of False ones around it, and share none.

    Most of a slide is not IDC, and tracing takes thirty bytes for each pixel that it looks at.
    """
    tiles = np.logical_or.reduceat(inside, np.arange(0, inside.shape[0], _TILE), 0)
    tiles = np.logical_or.reduceat(tiles, np.arange(0, inside.shape[1], _TILE), 1)
    while True:
        # Tiles that are neighbours go together, and so do boxes that touch.
        boxes = find_objects(label(tiles, np.ones((3, 3)))[0])
        filled = tiles.copy()
        for box in boxes:
            filled[box] = True
        if (filled == tiles).all():
            return [(_pixels(rows), _pixels(cols)) for rows, cols in boxes]
        tiles = filled


def _pixels(tiles: slice) -> slice:
    return slice(max(0, tiles.start * _TILE - 1), tiles.stop * _TILE + 1)


def _finished(outline: Polygon, field: Field, outlining: Outlining) -> Polygon | MultiPolygon | None:
    """Fill small holes, simplify, and round to whole level-0 pixels within the slide; None for what is nothing then."""
    grid = field.grid
    pixel_mm2 = grid.patch_mm2
    if outlining.min_hole_mm2:
        holes = [hole for hole in outline.interiors if Polygon(hole).area * pixel_mm2 >= outlining.min_hole_mm2]
        outline = Polygon(outline.exterior, holes)
    simple: shapely.Geometry = shapely.simplify(outline, outlining.smooth_um / grid.patch_um, preserve_topology=True)
    simple = shapely.transform(simple, grid.to_level0)
    # Tracing may leave rings that touch themselves.
    simple = shapely.intersection(shapely.make_valid(simple), shapely.box(0, 0, *grid.slide_size))
    # Rounds and repairs in one go: the result is valid on the grid of whole pixels.
    whole = area_of(shapely.set_precision(simple, 1.0))
    return None if whole.is_empty else shapely.normalize(whole)


def _mm2(geometry: Polygon | MultiPolygon, grid: Grid) -> float:
    """Return the area; of whole pixels it is exact, so that equal areas are equal to the last bit wherever they lie."""
    return geometry.area * grid.slide_mpp[0] * grid.slide_mpp[1] / 1e6


def _painted(geometries: Sequence[Polygon | MultiPolygon], field: Field) -> np.ndarray:
    """Paint polygons over the pixels of a field: (h, w) int32, their number from 1.

    Islands are painted after what they lie in: the larger the box around a region, the earlier.
    """
    height, width = field.values.shape
    image = Image.new("I", (width, height))
    draw = ImageDraw.Draw(image)
    step = np.array(field.grid.step)
    for number, geometry in sorted(enumerate(geometries, 1), key=lambda g: -shapely.envelope(g[1]).area):
        for part in polygons_of(geometry):
            for ring, value in [(part.exterior, number), *((hole, 0) for hole in part.interiors)]:
                # Pillow's coordinates are those of the centres of pixels.
                draw.polygon((shapely.get_coordinates(ring) / step - 0.5).ravel().tolist(), fill=value)
    return np.array(image, np.int32)


def _gaps(geometries: Sequence[Polygon | MultiPolygon], field: Field) -> list[float | None]:
    """Return the distance of each region to the nearest other one, in mm."""
    if len(geometries) < 2:
        return [None] * len(geometries)
    scale = np.array(field.grid.slide_mpp) / 1000
    physical = shapely.transform(np.array(geometries), lambda xy: xy * scale)
    tree = shapely.STRtree(physical)
    (here, _), distances = tree.query_nearest(physical, exclusive=True, return_distance=True, all_matches=False)
    return [float(d) for d in distances[np.argsort(here)]]


def _measured(
    geometry: Polygon | MultiPolygon,
    at: np.ndarray,
    gap: float | None,
    field: Field,
    edge: np.ndarray,
    per_side: int,
    key: str,
) -> Region:
    """Measure a region, of which `at` are the pixels of the field, as indices of the flattened array."""
    grid = field.grid
    scale = np.array(grid.slide_mpp)
    physical = shapely.transform(geometry, lambda xy: xy * scale)
    values = field.values.ravel()[at].astype(np.float64)
    rows, cols = np.divmod(at, field.values.shape[1])
    middle = per_side // 2
    left, top, right, bottom = geometry.bounds
    width, height = grid.slide_size
    identity = uuid.uuid5(_NAMESPACE, key + shapely.to_wkb(geometry, hex=True, byte_order=1))
    return Region(
        id=str(identity),
        geometry=geometry,
        area_mm2=_mm2(geometry, grid),
        perimeter_mm=physical.length / 1e3,
        largest_diameter_mm=largest_diameter(physical) / 1e3,
        mean_probability=float(values.mean()),
        max_probability=float(values.max()),
        p95_probability=float(np.percentile(values, 95)),
        uncertain_share=float(((values >= UNCERTAIN[0]) & (values < UNCERTAIN[1])).mean()),
        patches=int(((rows % per_side == middle) & (cols % per_side == middle)).sum()),
        centroid_um=(physical.centroid.x, physical.centroid.y),
        nearest_mm=gap,
        touches_tissue_edge=bool(edge[at].any()),
        touches_slide_edge=bool(left <= 0 or top <= 0 or right >= width or bottom >= height),
    )


def largest_diameter(geometry: shapely.Geometry) -> float:
    """Return the largest distance between two points of a geometry, in its own unit (maximum Feret diameter)."""
    corners = shapely.get_coordinates(shapely.convex_hull(geometry))
    if not len(corners):
        return 0.0
    return float(np.sqrt(((corners[:, None] - corners[None]) ** 2).sum(-1)).max())


def measure_slide(
    regions: Sequence[Region], slivers: Sequence[Region], tissue_mm2: float, patches: int
) -> dict[str, Any]:
    """Measure the regions of a slide together; areas in mm2, lengths in mm. Slivers are counted apart.

    `idc_share` is null without tissue, `uncertain_share` (see `regions.UNCERTAIN`) without regions, `nearest_foci_mm`,
    the smallest gap between two of them, with fewer than two. Where none of its `patches` has a probability nothing was
    looked at: then all but the tissue is null, since 0 would say that there is no IDC.
    """
    if not patches:
        return {"tissue_mm2": round(tissue_mm2, 4)} | dict.fromkeys(_OF_REGIONS)
    idc = sum(r.area_mm2 for r in regions)
    gaps = [r.nearest_mm for r in regions if r.nearest_mm is not None]
    uncertain = sum(r.area_mm2 * r.uncertain_share for r in regions)
    return {
        "tissue_mm2": round(tissue_mm2, 4),
        "idc_mm2": round(idc, 4),
        "idc_share": round(min(1.0, idc / tissue_mm2), 4) if tissue_mm2 else None,
        "foci": len(regions),
        "slivers": len(slivers),
        "slivers_mm2": round(sum(r.area_mm2 for r in slivers), 4),
        "largest_extent_mm": round(max((r.largest_diameter_mm for r in regions), default=0.0), 4),
        "nearest_foci_mm": round(min(gaps), 4) if gaps else None,
        "uncertain_share": round(uncertain / idc, 4) if idc else None,
        "foci_at_tissue_edge": sum(r.touches_tissue_edge for r in regions),
        "foci_at_slide_edge": sum(r.touches_slide_edge for r in regions),
    }
