"""Outlines while a threshold moves: of what is in view, as coarse as it is shown, in a moment."""

from __future__ import annotations

from typing import Any

import contourpy
import numpy as np
from scipy.ndimage import label

from wsi_idc.regions.interpolate import Field
from wsi_idc.regions.outlining import Outlining

# Pixels of a field that are traced, a side, at most.
_SIDE = 640
# Steps of probability between which areas are known.
_STEPS = 4096


class Preview:
    """The field of a run at half its size, a quarter, ...; see `Field`. Threads may share it."""

    def __init__(self, field: Field, outlining: Outlining) -> None:
        """Reduce the field of a run, by means, until all of it is traced at once."""
        self._grid, self._outlining = field.grid, outlining
        self._levels = [field.values]
        while max(self._levels[-1].shape) > _SIDE:
            self._levels.append(_halved(self._levels[-1]))
        steps = np.minimum(field.values[field.tissue] * _STEPS, _STEPS - 1).astype(np.int32)
        # How many pixels reach each step.
        self._reach = np.cumsum(np.bincount(steps, minlength=_STEPS)[::-1])[::-1]

    def lines(self, threshold: float, box: tuple[float, float, float, float]) -> dict[str, Any]:
        """Outline what lies in a box (left, top, right, bottom) in level-0 pixels.

        Gives lines (n, 2) in level-0 pixels, along pixels of the field that are at most a thousandth of the box or so,
        and about how many mm2 of the slide reach the probability along which they run; small foci are in that too.
        """
        low = self._outlining.low
        at = threshold if low is None else min(low, threshold)
        step = np.array(self._grid.step)
        number = 0
        left, top, right, bottom = (v / step[n % 2] for n, v in enumerate(box))
        while max(right - left, bottom - top) / 2**number > _SIDE and number < len(self._levels) - 1:
            number += 1
        values, scale = self._levels[number], 2**number
        rows, cols = (
            slice(max(0, int(a / scale) - 1), min(n, int(b / scale) + 2))
            for a, b, n in ((top, bottom, values.shape[0]), (left, right, values.shape[1]))
        )
        part = self._without_small(values[rows, cols], at, threshold, scale)
        lines = _traced(part, at) if part.size else []
        corner = np.array([cols.start, rows.start])
        count = int(self._reach[min(int(np.ceil(at * _STEPS)), _STEPS - 1)])
        return {
            "lines": [(line + corner) * scale * step for line in lines],
            "about_mm2": round(count * self._grid.patch_mm2, 4),
        }

    def _without_small(self, part: np.ndarray, at: float, threshold: float, scale: int) -> np.ndarray:
        """Take out what reaches no peak, or is too small for a focus and whole in view."""
        smallest = (self._outlining.min_area_mm2 or 0.0) / self._grid.patch_mm2 / scale**2
        found, count = label(part >= at)
        if not count or (at == threshold and smallest <= 1):
            return part
        sizes = np.bincount(found.ravel(), minlength=count + 1)
        cut = np.unique(np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]]))
        keep = sizes >= smallest
        if at < threshold:
            peaks = np.zeros(count + 1, bool)
            peaks[found[part >= threshold]] = True
            keep &= peaks
        keep[cut] = True
        keep[0] = True
        return np.where(keep[found], part, 0)


def _halved(values: np.ndarray) -> np.ndarray:
    """Return the means of squares of 2 x 2; what is odd at the end repeats."""
    even = np.pad(values, [(0, n % 2) for n in values.shape], mode="edge")
    rows, cols = even.shape
    means: np.ndarray = even.reshape(rows // 2, 2, cols // 2, 2).mean((1, 3), dtype=np.float32)
    return means


def _traced(values: np.ndarray, at: float) -> list[np.ndarray]:
    """Trace where values reach `at`, in pixels from the corner of the array; closed beyond its border."""
    beyond = np.zeros([n + 2 for n in values.shape], np.float32)
    beyond[1:-1, 1:-1] = values
    found = contourpy.contour_generator(z=beyond, line_type="Separate").lines(at)
    # The centre of the first pixel is at 0.5.
    return [np.asarray(line) - 0.5 for line in found]
