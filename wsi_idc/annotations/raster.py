"""Outlines to pixels: those are inside whose centre is."""

from __future__ import annotations

import math

import numpy as np
import shapely


def centres_inside(
    geometry: shapely.Geometry, step: tuple[float, float], shape: tuple[int, int]
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Say of each pixel of an image of `shape` (h, w) whether its centre lies inside a geometry, not on its outline.

    `step` is the width and height of a pixel in units of the geometry, whose origin is the corner of the image. Returns
    the rows and columns around the geometry, outside of which no pixel is, and (r, c) bool of these.
    """
    left, top, right, bottom = shapely.bounds(geometry)
    columns, rows = (
        slice(*np.clip([math.floor(low / size), math.ceil(high / size)], 0, count).tolist())
        for low, high, size, count in zip((left, top), (right, bottom), step, shape[::-1], strict=True)
    )
    x, y = ((np.arange(s.start, s.stop) + 0.5) * size for s, size in zip((columns, rows), step, strict=True))
    inside = np.zeros((len(y), len(x)), bool)
    shapely.prepare(geometry)
    # Row by row: of a large region the coordinates of all pixels would take gigabytes.
    for row, at in zip(inside, y, strict=True):
        row[:] = shapely.contains_xy(geometry, x, at)
    return (rows, columns), inside
