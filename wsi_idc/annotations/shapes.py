"""What programs draw with, as corners: ellipses, boxes, closed lines; and numbers with points and with commas."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

# How far, in pixels, a curve drawn as straight pieces may be from itself.
TOLERANCE = 0.25
# In pixels: more than ten times the side of the largest slide. What lies farther out is no place on a slide.
FARTHEST = 1e7
# Ends of a line that are this near to each other, in pixels, are one point.
_CLOSED = 0.01
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
