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

    `wanted` is (rows, cols) bool. Each of `workers` threads takes one chunk of the array through reading, inference
    and writing, so the chunks in flight, and with them the memory, are bounded by their number; the predictor lets
    one thread at a time compute, while others read. In a chunk that cannot be decoded what can be is computed patch by
    patch; the rest stays NaN, counts as absent for its neighbours, and is reported.
    """
    report, lock = StreamReport(), threading.Lock()
    halo = predictor.package.halo

    def chunk(block_info: Any = None) -> np.ndarray:
        (top, bottom), (left, right) = block_info[None]["array-location"]
        inner = Block(top, left, bottom, right)
        out = np.full(inner.shape, np.nan, np.float32)
        if not wanted[inner.slices].any():
            return out
        outer = grid.with_halo(inner, halo)
        started = time.perf_counter()
        pixels, present, reason = _read(slide, grid, outer, wanted[outer.slices])
        lost = int((wanted[inner.slices] & ~present[inner.within(outer)]).sum())
        read = time.perf_counter()
        out = predictor.block(pixels, present)[inner.within(outer)]
        inferred = time.perf_counter()
        with lock:
            report.read_s += read - started
            report.infer_s += inferred - read
            if lost:
                report.failed.append(FailedChunk(inner, lost, reason))
        if progress:
            progress(int(wanted[inner.slices].sum()))
        return out

    chunks = da.map_blocks(
        chunk, chunks=grid.chunks(heatmap.chunks[0]), dtype=np.float32, meta=np.empty((0, 0), np.float32)
    )
    # One Dask block is one Zarr chunk: no two threads write the same file.
    da.store(chunks, heatmap, lock=False, scheduler="threads", num_workers=workers)  # type: ignore[arg-type]
    report.failed.sort(key=lambda f: (f.block.top, f.block.left))
    return report


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
