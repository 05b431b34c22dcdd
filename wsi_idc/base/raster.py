"""Averages of pixels over larger pixels, exactly by area."""

from __future__ import annotations

import numpy as np

from wsi_idc.grid import area_weights

# Rows of averages that are computed at once.
_BAND = 16


def average(
    block: np.ndarray,
    first: tuple[float, float],
    scale: tuple[float, float],
    shape: tuple[int, int],
    background: tuple[int, int, int],
) -> np.ndarray:
    """Average (h, w, 3) uint8 pixels over pixels of `scale` (x, y) of them; gives (*shape, 3) uint8.

    `first` (x, y) is where in `block` the first pixel begins. What lies outside the block is `background`. Halves are
    rounded up.
    """
    whole = scale[0].is_integer() and scale[1].is_integer() and first == (0.0, 0.0)
    if whole and block.shape[:2] == (shape[0] * scale[1], shape[1] * scale[0]):
        return _whole_means(block, int(scale[0]), int(scale[1]))
    rows = area_weights(shape[0], first[1], scale[1], block.shape[0])
    columns = area_weights(shape[1], first[0], scale[0], block.shape[1])
    flat = block.reshape(block.shape[0], -1)
    means = np.empty((shape[0], flat.shape[1]), np.float32)
    for top in range(0, shape[0], _BAND):
        # By bands: as numbers a block would take four times its memory, far more than a cache holds.
        band = rows[top : top + _BAND]
        used = band.indices
        low, high = (int(used.min()), int(used.max()) + 1) if len(used) else (0, 0)
        means[top : top + _BAND] = band[:, low:high] @ flat[low:high].astype(np.float32)
    means = columns @ means.reshape(shape[0], -1, 3).transpose(1, 0, 2).reshape(block.shape[1], -1)
    means = means.reshape(shape[1], shape[0], 3).transpose(1, 0, 2)
    covered = np.outer(np.asarray(rows.sum(1)), np.asarray(columns.sum(1)))[..., None]
    means = means + (1 - covered) * np.array(background, np.float32)
    # A little more than a half: of sums in float32 a half may come out below it.
    return np.clip(np.floor(means + np.float32(0.501)), 0, 255).astype(np.uint8)


def _whole_means(block: np.ndarray, across: int, down: int) -> np.ndarray:
    """Average over whole pixels: the same as by area, twice to four times as fast."""
    if across == down == 1:
        return block
    count = across * down
    # The largest sum, and half of the count for rounding.
    kind = np.min_scalar_type(255 * count + count // 2)
    rows = block[::down].astype(kind)
    for row in range(1, down):
        np.add(rows, block[row::down], out=rows)
    total = rows[:, ::across].copy()
    for column in range(1, across):
        np.add(total, rows[:, column::across], out=total)
    return ((total + kind.type(count // 2)) // kind.type(count)).astype(np.uint8)
