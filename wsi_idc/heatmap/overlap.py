"""Overlapping patches: the same grid laid several times, each a stride further, and merged by a stated weighting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import numpy as np

from wsi_idc.base.grid import Block, Grid


def shifted(grid: Grid, stride: int) -> list[Grid]:
    """Return the grids that together have a patch at each `stride` pixels, which divides the size of a patch."""
    steps = range(0, grid.patch_size, stride)
    return [replace(grid, shift=(x, y)) for y, x in product(steps, steps)]


def cells(grid: Grid, stride: int) -> Grid:
    """Return the grid of squares of `stride` pixels, what a merged heatmap has a probability for."""
    return replace(grid, patch_size=stride)


def under(grid: Grid, onto: Grid, block: Block) -> Block:
    """Return which patches of `grid` cover some of the squares `block` of the grid `onto`."""
    per_side, (left, top) = _squares(grid, onto)
    rows, cols = grid.shape
    start_row, start_col = max(0, (block.top - top) // per_side), max(0, (block.left - left) // per_side)
    stop_row, stop_col = -(-(block.bottom - top) // per_side), -(-(block.right - left) // per_side)
    return Block(start_row, start_col, max(start_row, min(rows, stop_row)), max(start_col, min(cols, stop_col)))


def merge(found: Iterable[tuple[Grid, Block, np.ndarray]], onto: Grid, block: Block) -> np.ndarray:
    """Average probabilities of overlapping grids over the squares `block` of the grid `onto`.

    Of each grid those of the patches `under` the block are given, (r, c), NaN for none. Each square has the weighted
    mean of the patches that cover it. A patch weighs the less, the further its centre is from that of the square: a
    triangular window, which ends half a square beyond the border of the patch, by row times the same by column. With a
    stride of half a patch all four patches of a square weigh alike. An infinite one, of which the
    model gave no number, makes it infinite. Returns (rows, cols) float32 of the block, NaN where no patch was computed.
    """
    total, weight = np.zeros((2, *block.shape))
    for grid, part, probabilities in found:
        per_side, (left, top) = _squares(grid, onto)
        slope = (per_side + 1) / 2 - np.abs(np.arange(per_side) - (per_side - 1) / 2)
        window = np.tile(np.outer(slope, slope), part.shape)
        spread = probabilities.repeat(per_side, 0).repeat(per_side, 1)
        # Patches may begin before the block, and end after it.
        y, x = part.top * per_side + top - block.top, part.left * per_side + left - block.left
        inside = np.s_[max(0, -y) : block.shape[0] - y, max(0, -x) : block.shape[1] - x]
        window, spread = window[inside], spread[inside]
        here = np.s_[max(0, y) : max(0, y) + spread.shape[0], max(0, x) : max(0, x) + spread.shape[1]]
        known = ~np.isnan(spread)
        total[here] += np.where(known, window * spread, 0)
        weight[here] += np.where(known, window, 0)
    return np.divide(total, weight, out=np.full(block.shape, np.nan), where=weight > 0).astype(np.float32)


def _squares(grid: Grid, onto: Grid) -> tuple[int, tuple[int, int]]:
    """Return how many squares of `onto` a patch of `grid` is wide, and at which, (column, row), the first begins."""
    left, top = (shift // onto.patch_size for shift in grid.shift)
    return grid.patch_size // onto.patch_size, (left, top)
