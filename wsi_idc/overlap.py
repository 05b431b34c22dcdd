"""Overlapping patches: the same grid laid several times, each a stride further, and merged by a stated weighting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import numpy as np

from wsi_idc.grid import Grid


def shifted(grid: Grid, stride: int) -> list[Grid]:
    """Return the grids that together have a patch at each `stride` pixels, which divides the size of a patch."""
    steps = range(0, grid.patch_size, stride)
    return [replace(grid, shift=(x, y)) for y, x in product(steps, steps)]


def cells(grid: Grid, stride: int) -> Grid:
    """Return the grid of squares of `stride` pixels, what a merged heatmap has a probability for."""
    return replace(grid, patch_size=stride)


def merge(found: Iterable[tuple[Grid, np.ndarray]], onto: Grid) -> np.ndarray:
    """Average probabilities (rows, cols), NaN for none, of overlapping grids over the squares of the grid `onto`.

    Each square has the weighted mean of the patches that cover it. A patch weighs the less, the further its centre is
    from that of the square: a triangular window, which ends half a square beyond the border of the patch, by row times
    the same by column. With a stride of half a patch all four patches of a square weigh alike. Returns (rows, cols)
    float32, NaN where no patch was computed.
    """
    total, weight = np.zeros((2, *onto.shape))
    for grid, probabilities in found:
        per_side = grid.patch_size // onto.patch_size
        slope = (per_side + 1) / 2 - np.abs(np.arange(per_side) - (per_side - 1) / 2)
        left, top = (o // onto.patch_size for o in grid.shift)
        window = np.tile(np.outer(slope, slope), probabilities.shape)
        spread = probabilities.repeat(per_side, 0).repeat(per_side, 1)
        rows, cols = onto.shape[0] - top, onto.shape[1] - left
        here = np.s_[top : top + spread.shape[0], left : left + spread.shape[1]]
        window, spread = window[:rows, :cols], spread[:rows, :cols]
        known = np.isfinite(spread)
        total[here] += np.where(known, window * spread, 0)
        weight[here] += np.where(known, window, 0)
    return np.divide(total, weight, out=np.full(onto.shape, np.nan), where=weight > 0).astype(np.float32)
