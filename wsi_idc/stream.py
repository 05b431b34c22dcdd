"""Slide to heatmap: chunks stream through Dask into features, and features, once all are there, into probabilities."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import dask
import numpy as np
import zarr

from wsi_idc.errors import SlideError
from wsi_idc.grid import Block, Grid
from wsi_idc.inference import Predictor, slide_sums

# Patches a side whose neighbourhoods are computed together.
_TOGETHER = 64


class Source(Protocol):
    """What patches are read from: a `slide.Slide`, or what stands for one."""

    def read(self, x: float, y: float, width: int, height: int, mpp: float) -> np.ndarray:
        """Read a rectangle; see `slide.Slide.read`."""
        ...


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
    slide: Source,
    grid: Grid,
    wanted: np.ndarray,
    predictor: Predictor,
    heatmap: zarr.Array,
    scratch: Path,
    workers: int,
    progress: Progress | None = None,
) -> StreamReport:
    """Compute the probability of every wanted patch and store it in `heatmap`.

    `wanted` is (rows, cols) bool. First the features of every patch go to a Zarr array at `scratch`, chunk by chunk:
    Dask runs `workers` threads, each reads a chunk and encodes it, and the predictor lets one thread at a time compute
    while others read. Chunks that are at `scratch` from an earlier call, killed, are not computed again. Then, when the
    whole slide is known, features become probabilities. So no patch is read or encoded twice, and chunks in flight
    bound the memory. In a chunk that cannot be decoded what can be is computed patch by patch; the rest stays NaN,
    counts as absent for its neighbours, and is reported.
    """
    report, lock = StreamReport(), threading.Lock()
    side = heatmap.chunks[0]
    features = _open_features(scratch, grid.shape, side, predictor.n_features)

    def encode(block: Block) -> None:
        asked = wanted[block.slices]
        if (np.isfinite(features[(*block.slices, 0)]) == asked).all():
            found = asked
        else:
            started = time.perf_counter()
            pixels, found, reason = _read(slide, grid, block, asked)
            read = time.perf_counter()
            # One block is one chunk: no two threads write the same file, and it is there whole or not at all.
            features[block.slices] = predictor.features(pixels, found)
            encoded = time.perf_counter()
            with lock:
                report.read_s += read - started
                report.infer_s += encoded - read
                if lost := int((asked & ~found).sum()):
                    report.failed.append(FailedChunk(block, lost, reason))
        if progress:
            progress(int(asked.sum()))

    tasks = [dask.delayed(encode)(block) for block in grid.blocks(side) if wanted[block.slices].any()]
    dask.compute(tasks, scheduler="threads", num_workers=workers)
    started = time.perf_counter()
    _finish(features, grid, wanted, predictor, heatmap)
    report.infer_s += time.perf_counter() - started
    report.failed.sort(key=lambda f: (f.block.top, f.block.left))
    return report


def _open_features(path: Path, shape: tuple[int, int], side: int, n_features: int) -> zarr.Array:
    """Open the array (rows, cols, n) float32 at `path`, or make an empty one, NaN."""
    if (path / "zarr.json").exists():
        array = zarr.open_array(path, mode="r+")
        if array.shape == (*shape, n_features) and array.chunks[0] == side:
            return array
    # Empty chunks are not written, and features hardly compress.
    return zarr.create_array(
        path,
        shape=(*shape, n_features),
        chunks=(side, side, n_features),
        dtype=np.float32,
        fill_value=np.nan,
        compressors=None,
        overwrite=True,
    )


def _finish(features: zarr.Array, grid: Grid, wanted: np.ndarray, predictor: Predictor, heatmap: zarr.Array) -> None:
    """Turn features (rows, cols, n) into probabilities (rows, cols), each patch seeing `halo` patches around it."""
    side, halo = heatmap.chunks[0], predictor.package.halo
    # Whole chunks, so that none is written twice, and many at once: the halo around them is computed for nothing.
    side *= -(-_TOGETHER // side)
    rows, _ = wanted.shape
    slide = np.zeros(predictor.n_features + 1)
    for top in range(0, rows, side):
        slide += slide_sums(features[top : top + side])
    for block in grid.blocks(side):
        if wanted[block.slices].any():
            above, before = min(halo, block.top), min(halo, block.left)
            around = features[block.top - above : block.bottom + halo, block.left - before : block.right + halo]
            found = predictor.probabilities(around, slide)[above:, before:]
            heatmap[block.slices] = found[: block.shape[0], : block.shape[1]]


def _read(slide: Source, grid: Grid, block: Block, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
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
