"""Slide to heatmap: chunks stream through Dask into features, and these become the chunks of the heatmap."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import dask
import dask.threaded
import numpy as np

from wsi_idc.base.grid import Block
from wsi_idc.base.progress import Progress
from wsi_idc.heatmap.assemble import EncodedGrid, Finisher
from wsi_idc.heatmap.encode import Chunk, Encoded, Encoder
from wsi_idc.heatmap.store import HeatmapSpec, HeatmapStore

# Chunks side by side in a strip of a slide.
_STRIP = 4
# Batches that are computed together at least.
_BATCHES = 4
# Why a patch failed that could be read.
NO_NUMBER = "the model gives no number for them (NaN or infinite)"


@dataclass(frozen=True, slots=True)
class FailedChunk:
    """A chunk, in patches of its grid, of which `patches` could not be computed; the others of it were."""

    block: Block
    patches: int
    reason: str


@dataclass(slots=True)
class StreamReport:
    """What streaming did: chunks that failed, seconds of reading and inference, of all threads together, and the
    `slide_sums` of the features. Of `numberless` patches among those that failed the model gave no number."""

    failed: list[FailedChunk] = field(default_factory=list)
    numberless: int = 0
    read_s: float = 0.0
    infer_s: float = 0.0
    sums: np.ndarray | None = None


# Encodes packs of chunks, here or elsewhere, and calls back with each chunk that is done, from any thread.
RunChunks = Callable[[Encoder, list[list[Chunk]], Callable[[Chunk, Encoded], None]], None]


def in_threads(threads: int) -> RunChunks:
    """Let Dask encode in so many `threads` of this process: while one computes, the others read."""

    def run(encoder: Encoder, packs: list[list[Chunk]], on_done: Callable[[Chunk, Encoded], None]) -> None:
        # Dask takes equal tasks in an order of its own, and neighbours, which share tiles, would be far apart.
        waiting = deque(packs)

        def encode(_: int) -> None:
            pack = waiting.popleft()
            for chunk, encoded in zip(pack, encoder(pack), strict=True):
                on_done(chunk, encoded)

        work = [dask.delayed(encode)(number) for number in range(len(packs))]
        # By name, the scheduler would look for a cluster first, and import all of distributed for it.
        dask.compute(work, scheduler=dask.threaded.get, num_workers=threads)

    return run


def stream(
    grids: Sequence[EncodedGrid],
    spec: HeatmapSpec,
    wanted: np.ndarray,
    folder: Path,
    run: RunChunks,
    progress: Progress | None = None,
) -> tuple[HeatmapStore, StreamReport]:
    """Compute a heatmap into a store in `folder`: a probability for each square that is `wanted`, (rows, cols) bool.

    `run` encodes every chunk of each grid; those of which the features are there from a run that was killed are not
    computed again. A chunk of the heatmap is written when all that it needs is known; see `assemble.Finisher`. So no
    patch is read or encoded twice, and chunks in flight bound the memory. In a chunk that cannot be
    decoded what can be is computed patch by patch; the rest stays NaN, counts as absent for its neighbours, and is
    reported; so is a patch of which the model gives no number.
    """
    report, lock = StreamReport(), threading.Lock()
    finisher = Finisher(grids, spec, wanted, folder)

    def on_done(grid_number: int, chunk: Chunk, encoded: Encoded) -> None:
        block, asked = chunk
        with lock:
            report.read_s += encoded.read_s
            report.infer_s += encoded.infer_s
            if encoded.lost:
                report.failed.append(FailedChunk(block, encoded.lost, encoded.reason))
            if encoded.numberless:
                report.failed.append(FailedChunk(block, encoded.numberless, NO_NUMBER))
        finisher.encoded(grid_number, block)
        if progress:
            progress(int(asked.sum()))

    for number, (encoder, asked) in enumerate(grids):
        side = encoder.features.chunk
        # In strips, so that the tiles that two rows of chunks share are still in memory.
        blocks = sorted(encoder.grid.blocks(side), key=lambda b: (b.left // (_STRIP * side), b.top, b.left))
        chunks = [_cropped(block, part) for block in blocks if (part := asked[block.slices]).any()]
        run(encoder, _packs(chunks, _BATCHES * encoder.predictor.engine.batch_size), partial(on_done, number))
    started = time.perf_counter()
    heatmap = finisher.complete()
    report.infer_s += time.perf_counter() - started
    report.sums = finisher.slide_sums()
    report.failed += [FailedChunk(block, patches, NO_NUMBER) for block, patches in finisher.numberless.items()]
    report.numberless = sum(chunk.patches for chunk in report.failed if chunk.reason == NO_NUMBER)
    report.failed.sort(key=lambda f: (f.block.top, f.block.left))
    return heatmap, report


def _cropped(block: Block, wanted: np.ndarray) -> Chunk:
    """Leave out of a chunk the rows and columns at its sides of which no patch is wanted: they need not be read."""
    rows, cols = (np.flatnonzero(wanted.any(axis)) for axis in (1, 0))
    top, left, bottom, right = (int(n) for n in (rows[0], cols[0], rows[-1] + 1, cols[-1] + 1))
    inner = Block(block.top + top, block.left + left, block.top + bottom, block.left + right)
    return inner, wanted[top:bottom, left:right]


def _packs(chunks: list[Chunk], patches: int) -> list[list[Chunk]]:
    """Join chunks that follow one another until there are so many patches in them.

    So batches are nearly all full, also for a GPU, to which a chunk is little. What is computed together depends on the
    slide alone, not on which thread is free: the last bits of a feature do on its batch.
    """
    packs: list[list[Chunk]] = []
    count = patches
    for chunk in chunks:
        if count >= patches:
            packs.append([])
            count = 0
        packs[-1].append(chunk)
        count += int(chunk[1].sum())
    return packs
