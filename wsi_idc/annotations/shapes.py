"""What programs draw with, as corners: ellipses, boxes, splines, closed lines; and numbers with points or commas."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

# How far, in pixels, a curve drawn as straight pieces may be from itself.
TOLERANCE = 0.25
# In pixels: several times the side of the largest slide. What lies farther out is no place on a slide.
FARTHEST = 2e6
# Ends of a line that are this near to each other, in pixels, are one point.
_CLOSED = 0.01
# What is said of such a line.
CLOSED_LINE = "a closed line, taken as the area within it"
# A spline that has more corners than this as straight pieces was not drawn by anybody.
_MOST_CORNERS = 50_000
Pair = Sequence[float] | np.ndarray
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")


def number_of(text: str) -> float:
    """Read a number as XML holds it, with a decimal point or comma; raises ValueError for anything else.

    A number with both could be a thousand times another and is refused.
    """
    try:
        return float(text)
    except ValueError:
        if not _DECIMAL_COMMA.fullmatch(text):
            raise
        return float(text.replace(",", "."))


def checked_points(rows: Iterable[Any]) -> np.ndarray:
    """Return points as an array (n, 2) of float; raises ValueError for any that is no place on a slide.

    A third coordinate, which is the plane of a stack, is left out.
    """
    listed = rows if isinstance(rows, np.ndarray) else list(rows)
    if len(listed) == 0:
        return np.empty((0, 2))
    points = np.asarray(listed, float).reshape(len(listed), -1)[:, :2]
    if len(points) and points.shape[1] < 2:
        raise ValueError("a point without two coordinates")
    if not np.isfinite(points).all():
        raise ValueError("a coordinate is not a finite number")
    if points.size and np.abs(points).max() > FARTHEST:
        raise ValueError(f"a coordinate of {np.abs(points).max():.3g} pixels, farther out than any slide")
    return points.reshape(-1, 2)


def is_closed(points: np.ndarray) -> bool:
    """Say whether a line (n, 2) ends where it began, and so encloses an area."""
    return len(points) > 3 and bool(np.hypot(*(points[0] - points[-1])) <= _CLOSED)


def ellipse(centre: Pair, radius: Pair, rotation: float = 0.0) -> np.ndarray:
    """Return an ellipse as corners (n, 2) at most `TOLERANCE` off it.

    `radius` is half the width and half the height before it is turned by `rotation`, in radians, from x towards y.
    """
    radii = np.abs(np.asarray(radius, float))
    # A chord is r (1 - cos(pi / n)) off its arc, about r pi^2 / (2 n^2).
    count = max(8, math.ceil(math.pi * math.sqrt(radii.max() / (2 * TOLERANCE))))
    angle = 2 * math.pi * np.arange(count) / count
    return _turned(radii * np.column_stack([np.cos(angle), np.sin(angle)]), centre, rotation)


def rectangle(centre: Pair, radius: Pair, rotation: float = 0.0) -> np.ndarray:
    """Return the corners (4, 2) of a rectangle; the parameters are those of `ellipse`."""
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return _turned(signs * np.asarray(radius, float), centre, rotation)


def _turned(points: np.ndarray, centre: Pair, rotation: float) -> np.ndarray:
    cos, sin = math.cos(rotation), math.sin(rotation)
    x, y = points.T
    return np.asarray(centre, float) + np.column_stack([x * cos - y * sin, x * sin + y * cos])


def box_of(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle (2,) of the upright box around points (n, 2), and half of its sides (2,)."""
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, (high - low) / 2


def spline(points: np.ndarray) -> np.ndarray:
    """Return the closed curve that ASAP draws through points (n, 2), as corners at most a quarter pixel off it.

    ASAP (PolyQtAnnotation.cpp) draws a centripetal Catmull-Rom spline as cubic Bezier curves, and at its end two
    mirrored neighbours in place of the true ones, which is followed here: the outline is to be what was seen. Its own
    masks take straight lines between the points, which differ from what it shows. The approximation: each curve is cut
    into as many straight pieces as the bound of its second derivative asks for.
    """
    points = points[(points != np.roll(points, 1, axis=0)).any(1)]
    if len(points) < 3:
        return points
    before, p1, p2, after = (np.roll(points, shift, axis=0) for shift in (1, 0, -1, -2))
    # The neighbours as ASAP takes them: mirrored after the last point, and before the piece that closes the curve.
    after[-2], before[-1] = 2 * p2[-2] - p1[-2], 2 * p1[-1] - p2[-1]
    d1, d2, d3 = (np.linalg.norm(b - a, axis=1)[:, None] for a, b in ((before, p1), (p1, p2), (p2, after)))
    r1, r2, r3 = np.sqrt(d1), np.sqrt(d2), np.sqrt(d3)
    c1 = (d1 * p2 - d2 * before + (2 * d1 + 3 * r1 * r2 + d2) * p1) / (3 * r1 * (r1 + r2))
    c2 = (d3 * p1 - d2 * after + (2 * d3 + 3 * r3 * r2 + d2) * p2) / (3 * r3 * (r3 + r2))
    bend = np.maximum(np.linalg.norm(p1 - 2 * c1 + c2, axis=1), np.linalg.norm(c1 - 2 * c2 + p2, axis=1))
    # A chord over 1/n of the curve is at most |B''| / (8 n^2) off it, and |B''| is at most 6 times the bend.
    pieces = np.maximum(1, np.ceil(np.sqrt(6 * bend / (8 * TOLERANCE)))).astype(int)
    if pieces.sum() > _MOST_CORNERS:
        raise ValueError(f"a spline that would have {pieces.sum():,} corners")
    which = np.repeat(np.arange(len(points)), pieces)
    t = ((np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[which])[:, None]
    s = 1 - t
    curve: np.ndarray = s**3 * p1[which] + 3 * s * s * t * c1[which] + 3 * s * t * t * c2[which] + t**3 * p2[which]
    return curve
