"""Outlines that cross themselves: how often, and the area that they enclose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Polygon

# From here on crossings count against what may be mended of a file.
_FEW = 200
# No pen crosses its own line as often; beyond, time and memory grow without an end in sight.
MOST_CROSSINGS = 20_000
_MOST_CORNERS = 200_000
# Corners from which on an outline is looked at before GEOS does, and how many of its segments are.
_SEVERAL, _LOOKED_AT = 1000, 32
# Pairs of a face and a segment that are looked at together.
_PAIRS = 1 << 22


@dataclass(slots=True)
class Budget:
    """How many crossings may still be mended of a file whose outlines cross themselves hundreds of times each."""

    left: int = MOST_CROSSINGS

    def spend(self, crossings: int) -> None:
        """Take crossings off; raises ValueError where there are more than are left."""
        self.left = max(0, self.left - crossings)
        self.check()

    def check(self) -> None:
        """Raise ValueError where nothing is left."""
        if not self.left:
            raise ValueError("outlines of the file cross themselves too often to be mended; draw them again")


def valid_area(polygon: Polygon, budget: Budget | None = None) -> shapely.Geometry:
    """Return what lies within the rings of a polygon that cross each other an odd number of times, valid.

    That is what a program shows that fills the outline. Raises ValueError where they cross more than `MOST_CROSSINGS`
    times, which would take hours and all memory, or more often than is left of the `budget`.
    """
    if budget:
        budget.check()
    rings = _rings_of(polygon)
    corners = sum(len(ring) - 1 for ring in rings)
    if corners > _MOST_CORNERS:
        raise ValueError(f"an outline of {corners:,} corners that crosses itself; simplify it where it was drawn")
    times = _crossings(rings)
    if times > MOST_CROSSINGS:
        raise ValueError(f"an outline that crosses itself more than {MOST_CROSSINGS:,} times; draw it again")
    if budget and times > _FEW:
        budget.spend(times)
    return _odd_faces(rings)


def check_tangle(polygon: Polygon) -> None:
    """Raise ValueError for an outline of many corners that crosses itself everywhere, before GEOS looks at it.

    Some of its segments, drawn at random, tell: half of them cross several others, where of a drawn one few do.
    """
    rings = _rings_of(polygon)
    segments = np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings])
    if len(segments) <= _SEVERAL:
        return
    (x1, y1), (x2, y2) = segments[:, 0].T, segments[:, 1].T
    left, right, low, high = np.minimum(x1, x2), np.maximum(x1, x2), np.minimum(y1, y2), np.maximum(y1, y2)
    met = []
    for a, b in segments[np.random.default_rng(0).integers(0, len(segments), _LOOKED_AT)]:
        (dx, dy) = b - a
        across = (dx * (y1 - a[1]) - dy * (x1 - a[0]) > 0) != (dx * (y2 - a[1]) - dy * (x2 - a[0]) > 0)
        near = (left < max(a[0], b[0])) & (right > min(a[0], b[0])) & (low < max(a[1], b[1])) & (high > min(a[1], b[1]))
        met.append(int((near & across).sum()))
    # Neighbours may count.
    if (typical := float(np.median(met)) - 2) > 0 and typical * len(segments) / 2 > 2 * MOST_CROSSINGS:
        raise ValueError(f"an outline of {len(segments):,} corners that crosses itself everywhere; draw it again")


def check_overlaps(polygons: Sequence[Polygon]) -> None:
    """Raise ValueError where polygons cross each other so often that what they cover would take hours to find."""
    if _crossings([ring for polygon in polygons for ring in _rings_of(polygon)]) > MOST_CROSSINGS:
        raise ValueError(f"parts that cross each other more than {MOST_CROSSINGS:,} times; draw it again")


def _rings_of(polygon: Polygon) -> list[np.ndarray]:
    return [np.asarray(ring.coords)[:, :2] for ring in (polygon.exterior, *polygon.interiors)]


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


def _odd_faces(rings: list[np.ndarray]) -> shapely.Geometry:
    """Part the plane along the rings, and join the faces that they go round an odd number of times.

    Not by `shapely.make_valid`, which fills a hole that shares an edge with its outline.
    """
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
