"""Slide to heatmap: chunks of the grid stream through Dask, reading in some threads while another infers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dask.array as da
import numpy as np
import zarr
from dask.array.overlap import ensure_minimum_chunksize

from wsi_idc.errors import SlideError
from wsi_idc.grid import Block, Grid
from wsi_idc.inference import Predictor
from wsi_idc.slide import Slide

# Called after each chunk with the number of patches computed in it.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class FailedChunk:
    """A chunk of which `patches` could not be decoded; the others of it were computed."""

    block: Block
    patches: int
    reason: str


@dataclass(slots=True)
class StreamReport:
    """What streaming did: chunks that failed, and seconds of reading and inference, of all threads together."""

    failed: list[FailedChunk] = field(default_factory=list)
    read_s: float = 0.0
    infer_s: float = 0.0


def stream(
    slide: Slide,
    grid: Grid,
    wanted: np.ndarray,
    predictor: Predictor,
    heatmap: zarr.Array,
    workers: int,
    progress: Progress | None = None,
) -> StreamReport:
    """Compute the probability of every wanted patch and store it in `heatmap`, chunk by chunk.

    `wanted` is (rows, cols) bool. Dask runs `workers` threads; each reads a chunk and encodes its patches, and for a
    model that sees neighbours the features of adjacent chunks then meet, so that no patch is read or encoded twice.
    The predictor lets one thread at a time compute, while others read. Chunks in flight, and features that wait for
    their neighbours, bound the memory. In a chunk that cannot be decoded what can be is computed patch by patch; the
    rest stays NaN, counts as absent for its neighbours, and is reported.
    """
    report, lock = StreamReport(), threading.Lock()

    def encode(block_info: Any = None) -> np.ndarray:
        (top, bottom), (left, right), _ = block_info[None]["array-location"]
        block = Block(top, left, bottom, right)
        asked = wanted[block.slices]
        if not asked.any():
            return np.full((*block.shape, predictor.n_features), np.nan, np.float32)
        started = time.perf_counter()
        pixels, present, reason = _read(slide, grid, block, asked)
        read = time.perf_counter()
        features = predictor.features(pixels, present)
        encoded = time.perf_counter()
        with lock:
            report.read_s += read - started
            report.infer_s += encoded - read
            if lost := int((asked & ~present).sum()):
                report.failed.append(FailedChunk(block, lost, reason))
        if progress:
            progress(int(asked.sum()))
        return features

    side = heatmap.chunks[0]
    features = da.map_blocks(
        encode,
        chunks=(*grid.chunks(side), (predictor.n_features,)),
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )
    probabilities = _with_neighbours(features, predictor)
    # One Dask block is one Zarr chunk: no two threads write the same file.
    aligned = probabilities.rechunk((side, side))
    da.store(aligned, heatmap, lock=False, scheduler="threads", num_workers=workers)  # type: ignore[arg-type]
    report.failed.sort(key=lambda f: (f.block.top, f.block.left))
    return report


def _with_neighbours(features: da.Array, predictor: Predictor) -> da.Array:
    """Turn features (rows, cols, n) into probabilities (rows, cols), each block seeing `halo` patches around it."""
    halo = predictor.package.halo
    # An axis of a single block has nothing beside it, and may be shorter than the halo.
    depth = [halo if len(chunks) > 1 else 0 for chunks in features.chunks[:2]]
    chunks = [ensure_minimum_chunksize(d, c) if d else c for d, c in zip(depth, features.chunks, strict=False)]
    features = features.rechunk((*chunks, -1))
    around = da.overlap.overlap(features, {0: depth[0], 1: depth[1], 2: 0}, {0: np.nan, 1: np.nan, 2: "none"})

    def finish(block: np.ndarray) -> np.ndarray:
        found = predictor.probabilities(block)
        return found[depth[0] : found.shape[0] - depth[0], depth[1] : found.shape[1] - depth[1]]

    return around.map_blocks(
        finish, drop_axis=2, chunks=tuple(chunks), dtype=np.float32, meta=np.empty((0, 0), np.float32)
    )


def _read(slide: Slide, grid: Grid, block: Block, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Read a block; also returns which of the wanted patches could be read, and why others could not."""
    try:
        return slide.read(*grid.origin(block), *grid.pixel_size(block), grid.mpp), wanted, ""
    except SlideError as error:
        reason = str(error)
    size = grid.patch_size
    pixels, present = np.zeros((*wanted.shape, size, size, 3), np.uint8), wanted.copy()
    for row, col in zip(*np.nonzero(wanted), strict=True):
        patch = Block(block.top + row, block.left + col, block.top + row + 1, block.left + col + 1)
        try:
            pixels[row, col] = slide.read(*grid.origin(patch), size, size, grid.mpp)
        except SlideError as error:
            present[row, col], reason = False, str(error)
    width, height = grid.pixel_size(block)
    return pixels.swapaxes(1, 2).reshape(height, width, 3), present, reason
