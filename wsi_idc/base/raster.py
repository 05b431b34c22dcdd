"""Rectangles of pixels cut along tiles, and averages over larger pixels, exactly by area."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

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
    # A little more than a half: of sums in float32 a half may come out below it. A mean that is less than a thousandth
    # below a half goes up too.
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


def cut(
    top: int, left: int, height: int, width: int, tile: tuple[int, int]
) -> Iterator[tuple[int, int, tuple[slice, slice], tuple[slice, slice]]]:
    """Cut a rectangle along tiles of (height, width) pixels.

    Gives for each tile that it touches its row and column, the part within the tile, and that of the rectangle.
    """
    high, wide = tile
    for row in range(top // high, -(-(top + height) // high)):
        for col in range(left // wide, -(-(left + width) // wide)):
            y, x = max(top, row * high), max(left, col * wide)
            bottom, right = min(top + height, (row + 1) * high), min(left + width, (col + 1) * wide)
            within = slice(y - row * high, bottom - row * high), slice(x - col * wide, right - col * wide)
            yield row, col, within, (slice(y - top, bottom - top), slice(x - left, right - left))


def area_weights(n_out: int, start: float, step: float, n_in: int):  # type: ignore[no-untyped-def]
    """Build the (n_out, n_in) sparse matrix that averages input pixels over output pixels, exactly by area.

    Output pixel i covers [start + i * step, start + (i + 1) * step) in input pixels. A row sums to the share of its
    pixel that lies inside the input, so a caller can fill the rest with background.
    """
    from scipy.sparse import csr_matrix

    edges = start + step * np.arange(n_out + 1)
    low, high = np.clip(edges[:-1], 0, n_in), np.clip(edges[1:], 0, n_in)
    first = np.floor(low).astype(np.int64)
    counts = np.maximum(np.ceil(high).astype(np.int64) - first, 0)
    pointers = np.concatenate([[0], np.cumsum(counts)])
    columns = np.repeat(first - pointers[:-1], counts) + np.arange(pointers[-1])
    overlap = np.minimum(columns + 1, np.repeat(high, counts)) - np.maximum(columns, np.repeat(low, counts))
    weights = (np.maximum(overlap, 0) / step).astype(np.float32)
    return csr_matrix((weights, columns, pointers), shape=(n_out, n_in))
