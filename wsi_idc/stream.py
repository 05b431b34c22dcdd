"""Slide to heatmap: chunks stream through Dask into features, and features, once all are there, into probabilities."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr

from wsi_idc.errors import SlideError
from wsi_idc.grid import Block, Grid
from wsi_idc.inference import Predictor, slide_sums
from wsi_idc.slide import Slide

# Patches a side whose neighbourhoods are computed together.
_TOGETHER = 64

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
    scratch: Path,
    workers: int,
    progress: Progress | None = None,
) -> StreamReport:
    """Compute the probability of every wanted patch and store it in `heatmap`.

    `wanted` is (rows, cols) bool. First the features of every patch go to a Zarr array at `scratch`, which must not be
    there yet, chunk by chunk: Dask runs `workers` threads, each reads a chunk and encodes it, and the predictor lets one
    thread at a time compute, while others read. Then, when the whole slide is known, features become probabilities. So
    no patch is read or encoded twice, and chunks in flight bound the memory. In a chunk that cannot be decoded what can
    be is computed patch by patch; the rest stays NaN, counts as absent for its neighbours, and is reported.
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
    chunks = (*grid.chunks(side), (predictor.n_features,))
    encoded = da.map_blocks(encode, chunks=chunks, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
    # Empty chunks are not written; features hardly compress.
    features = zarr.create_array(
        scratch,
        shape=encoded.shape,
        chunks=(side, side, predictor.n_features),
        dtype=np.float32,
        fill_value=np.nan,
        compressors=None,
    )
    # One Dask block is one Zarr chunk: no two threads write the same file.
    da.store(encoded, features, lock=False, scheduler="threads", num_workers=workers)  # type: ignore[arg-type]
    started = time.perf_counter()
    _finish(features, wanted, predictor, heatmap)
    report.infer_s += time.perf_counter() - started
    report.failed.sort(key=lambda f: (f.block.top, f.block.left))
    return report


def _finish(features: zarr.Array, wanted: np.ndarray, predictor: Predictor, heatmap: zarr.Array) -> None:
    """Turn features (rows, cols, n) into probabilities (rows, cols), each patch seeing `halo` patches around it."""
    side, halo = heatmap.chunks[0], predictor.package.halo
    # Whole chunks, so that none is written twice, and many at once: the halo around them is computed for nothing.
    side *= -(-_TOGETHER // side)
    rows, cols = wanted.shape
    slide = np.zeros(predictor.n_features + 1)
    for top in range(0, rows, side):
        slide += slide_sums(features[top : top + side])
    for top, left in itertools.product(range(0, rows, side), range(0, cols, side)):
        if not wanted[top : top + side, left : left + side].any():
            continue
        above, before = min(halo, top), min(halo, left)
        around = features[top - above : top + side + halo, left - before : left + side + halo]
        found = predictor.probabilities(around, slide)[above:, before:][:side, :side]
        heatmap[top : top + side, left : left + side] = found


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
