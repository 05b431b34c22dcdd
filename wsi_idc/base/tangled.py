"""Outlines that cross themselves: how often, and the area of one that does so hundreds of times."""

from __future__ import annotations

import numpy as np
import shapely
from shapely import Polygon

# From here on GEOS, whose time grows with the square of the crossings, takes longer than what is done here.
_FEW = 200
# No pen crosses its own line as often; beyond, time and memory grow without an end in sight.
MOST_CROSSINGS = 20_000
_MOST_CORNERS = 200_000
# Pairs of a face and a segment that are looked at together.
_PAIRS = 1 << 22


def valid_area(polygon: Polygon) -> shapely.Geometry:
    """Return what lies within the rings of a polygon that cross each other an odd number of times, valid.

    That is what a program shows that fills the outline. Raises ValueError where they cross more than `MOST_CROSSINGS`
    times, which would take hours and all memory.
    """
    rings = [np.asarray(ring.coords)[:, :2] for ring in (polygon.exterior, *polygon.interiors)]
    corners = sum(len(ring) - 1 for ring in rings)
    if corners > _MOST_CORNERS:
        raise ValueError(f"an outline of {corners:,} corners that crosses itself; simplify it where it was drawn")
    times = _crossings(rings)
    if times > MOST_CROSSINGS:
        raise ValueError(f"an outline that crosses itself more than {MOST_CROSSINGS:,} times; draw it again")
    return shapely.make_valid(polygon, method="linework") if times <= _FEW else _odd_faces(polygon, rings)


def check_tangle(polygon: Polygon) -> None:
    """Raise ValueError for an outline of very many corners that crosses itself everywhere, before GEOS looks at it.

    A few of its segments, evenly spread, tell: each crosses many others, where of a drawn one hardly any does.
    """
    line = np.asarray(polygon.exterior.coords)[:, :2]
    if len(line) <= _MOST_CORNERS:
        return
    ends = np.stack([line[:-1], line[1:]], axis=1)
    some = ends[:: len(ends) // 16][:16]
    low, high = some.min(1), some.max(1)
    met = 0
    for a, b, (left, top), (right, bottom) in zip(some[:, 0], some[:, 1], low, high, strict=True):
        (dx, dy), (x, y) = b - a, line.T
        side = dx * (y - a[1]) - dy * (x - a[0]) > 0
        near = (np.minimum(x[:-1], x[1:]) < right) & (np.maximum(x[:-1], x[1:]) > left)
        near &= (np.minimum(y[:-1], y[1:]) < bottom) & (np.maximum(y[:-1], y[1:]) > top)
        met += int((near & (side[:-1] != side[1:])).sum())
    if met > 16 * 1000:
        raise ValueError(f"an outline of {len(ends):,} corners that crosses itself everywhere; draw it again")


def _crossings(rings: list[np.ndarray]) -> int:
    """Count the pairs of segments that meet other than as neighbours; stops soon after `MOST_CROSSINGS`."""
    segments = np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings])
    lengths = [len(ring) - 1 for ring in rings]
    # The number of the segment that follows, round its own ring.
    after = np.arange(1, len(segments) + 1)
    after[np.cumsum(lengths) - 1] -= lengths
    lines = np.asarray(shapely.linestrings(segments), object)
    tree = shapely.STRtree(lines)
    found, start, count = 0, 0, 16
    while start < len(lines) and found <= 2 * MOST_CROSSINGS:
        one, other = tree.query(lines[start : start + count], predicate="intersects")
        one += start
        apart = (one != other) & (after[one] != other) & (after[other] != one)
        found += int(apart.sum())
        # Few at first: where all cross all, each finds all others.
        start, count = start + count, min(2 * count, 4096)
    return found // 2


def _odd_faces(polygon: Polygon, rings: list[np.ndarray]) -> shapely.Geometry:
    """Part the plane along the rings, and join the faces that they go round an odd number of times."""
    noded = shapely.node(shapely.MultiLineString(rings))
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(noded)))
    inner = shapely.get_coordinates(shapely.point_on_surface(faces))
    segments = np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings])
    (x1, y1), (x2, y2) = segments[:, 0].T, segments[:, 1].T
    odd = np.zeros(len(faces), bool)
    step = max(1, _PAIRS // len(segments))
    for start in range(0, len(faces), step):
        x, y = inner[start : start + step, 0, None], inner[start : start + step, 1, None]
        across = (y1 > y) != (y2 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            beyond = x < (x2 - x1) * (y - y1) / (y2 - y1) + x1
        odd[start : start + step] = (across & beyond).sum(1) % 2 == 1
    return shapely.union_all(faces[odd])
