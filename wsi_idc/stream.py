"""Slide to heatmap: chunks stream through Dask into features, and features, once all are there, into probabilities."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import dask
import dask.threaded
import numpy as np

from wsi_idc.copied import CopiedSlide
from wsi_idc.errors import SlideError
from wsi_idc.glass import SparseSlide
from wsi_idc.grid import Block, Grid
from wsi_idc.inference import Predictor, slide_sums
from wsi_idc.kept import KeptFeatures
from wsi_idc.settings import Progress
from wsi_idc.slide import Slide
from wsi_idc.symmetry import symmetry, turned_back
from wsi_idc.tissue import READ_UM

# Patches a side whose neighbourhoods are computed together: the halo around them is computed for nothing.
_TOGETHER = 48
# Chunks side by side in a strip of a slide.
_STRIP = 4
# Batches that are computed together at least.
_BATCHES = 4
T = TypeVar("T")


class Source(Protocol):
    """What patches are read from: a `slide.Slide`, or what stands for one."""

    def read(self, x: float, y: float, width: int, height: int, mpp: float) -> np.ndarray:
        """Read a rectangle; see `slide.Slide.read`."""
        ...


@dataclass(frozen=True, slots=True)
class FailedChunk:
    """A chunk, in patches of its grid, of which `patches` could not be decoded; the others of it were computed."""

    block: Block
    patches: int
    reason: str


@dataclass(slots=True)
class StreamReport:
    """What streaming did: chunks that failed, and seconds of reading and inference, of all threads together."""

    failed: list[FailedChunk] = field(default_factory=list)
    read_s: float = 0.0
    infer_s: float = 0.0

    def add(self, other: StreamReport) -> None:
        """Count what streaming another grid of the slide did."""
        self.failed += other.failed
        self.read_s += other.read_s
        self.infer_s += other.infer_s


# A chunk of the grid, or what is wanted of it, and which of these patches are wanted, (r, c) bool.
Chunk = tuple[Block, np.ndarray]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Seconds that encoding a chunk took, how many of its patches could not be decoded, and why not."""

    read_s: float = 0.0
    infer_s: float = 0.0
    lost: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Encoder:
    """What it takes to encode chunks of a slide. Threads may call it at once.

    `features` is (views, rows, cols, n): with one view the patches are as they are, with eight each is turned and
    flipped by one symmetry of the square.
    """

    slide: Source
    grid: Grid
    predictor: Predictor
    features: KeptFeatures

    def __call__(self, chunks: Sequence[Chunk]) -> list[Encoded]:
        """Encode chunks together and store their features, each whole or not at all; nothing where all are stored."""
        if all(self.features.holds(block, wanted) for block, wanted in chunks):
            return [Encoded() for _ in chunks]
        started = time.perf_counter()
        found = [_read(self.slide, self.grid, block, wanted) for block, wanted in chunks]
        read = time.perf_counter()
        size = self.grid.patch_size
        views = [
            self.predictor.features_of([(turn_patches(pixels, size, code), present) for pixels, present, _ in found])
            for code in range(self.features.shape[0])
        ]
        for number, (block, _) in enumerate(chunks):
            self.features.keep(block, np.stack([view[number] for view in views]))
        seconds = (read - started) / len(chunks), (time.perf_counter() - read) / len(chunks)
        return [
            Encoded(*seconds, int((wanted & ~present).sum()), reason)
            for (_, wanted), (_, present, reason) in zip(chunks, found, strict=True)
        ]


# Encodes packs of chunks, here or elsewhere, and calls back with each chunk that is done, from any thread.
RunChunks = Callable[[Encoder, list[list[Chunk]], Callable[[Chunk, Encoded], None]], None]


def in_threads(workers: int) -> RunChunks:
    """Let Dask encode in `workers` threads of this process: while one computes, the others read."""

    def run(encoder: Encoder, packs: list[list[Chunk]], on_done: Callable[[Chunk, Encoded], None]) -> None:
        def encode(number: int) -> None:
            for chunk, encoded in zip(packs[number], encoder(packs[number]), strict=True):
                on_done(chunk, encoded)

        _compute(encode, range(len(packs)), workers)

    return run


def _compute(work: Callable[[T], object], items: Iterable[T], workers: int) -> None:
    """Let Dask call `work` with each item, in threads of this process."""
    # By name, the scheduler would look for a cluster first, and import all of distributed for it.
    dask.compute([dask.delayed(work)(item) for item in items], scheduler=dask.threaded.get, num_workers=workers)


def stream(
    encoder: Encoder, wanted: np.ndarray, run: RunChunks, progress: Progress | None = None
) -> tuple[np.ndarray, StreamReport]:
    """Compute the probability of every wanted patch: (rows, cols) float32, NaN for the others.

    `wanted` is (rows, cols) bool. First `run` encodes every chunk; those of which the features are there from a run
    that was killed are not computed again. Then, when the whole slide is known, features become probabilities. So no
    patch is read or encoded twice, and chunks in flight bound the memory. In a chunk that cannot be decoded what can be
    is computed patch by patch; the rest stays NaN, counts as absent for its neighbours, and is reported.
    """
    report, lock = StreamReport(), threading.Lock()

    def on_done(chunk: Chunk, encoded: Encoded) -> None:
        block, asked = chunk
        with lock:
            report.read_s += encoded.read_s
            report.infer_s += encoded.infer_s
            if encoded.lost:
                report.failed.append(FailedChunk(block, encoded.lost, encoded.reason))
        if progress:
            progress(int(asked.sum()))

    side = encoder.features.chunk
    # In strips, so that the tiles that two rows of chunks share are still in memory.
    blocks = sorted(encoder.grid.blocks(side), key=lambda b: (b.left // (_STRIP * side), b.top, b.left))
    chunks = [_cropped(block, part) for block in blocks if (part := wanted[block.slices]).any()]
    run(encoder, _packs(chunks, _BATCHES * encoder.predictor.engine.batch_size), on_done)
    started = time.perf_counter()
    probabilities = _finish(encoder, wanted)
    report.infer_s += time.perf_counter() - started
    report.failed.sort(key=lambda f: (f.block.top, f.block.left))
    return probabilities, report


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


def copy_of(slide: Slide, kept: Path, sparse: SparseSlide | None = None) -> CopiedSlide:
    """Return the slide, whose pixels at the scale at which tissue is found are kept in the folder `kept`."""
    return CopiedSlide(slide, READ_UM, kept / "pixels", sparse)


def open_encoder(slide: Slide, grid: Grid, predictor: Predictor, kept: Path, chunk: int, views: int) -> Encoder:
    """Return what encodes chunks of `chunk` patches a side, and keeps their features in the folder `kept`."""
    # What another engine computed, or in other chunks, is not the same to the last bit.
    folder = kept / f"features-{predictor.engine.name}-{chunk}-{grid.shift[0]}-{grid.shift[1]}"
    features = KeptFeatures(folder, (views, *grid.shape, predictor.n_features), chunk)
    return Encoder(copy_of(slide, kept), grid, predictor, features)


def turn_patches(pixels: np.ndarray, size: int, code: int) -> np.ndarray:
    """Turn each patch of a block (r * size, c * size, 3) by a symmetry, where it is."""
    if not code:
        return pixels
    rows, cols = pixels.shape[0] // size, pixels.shape[1] // size
    tiles = pixels.reshape(rows, size, cols, size, 3)
    return np.ascontiguousarray(symmetry(tiles, code, axes=(1, 3))).reshape(pixels.shape)


def _finish(encoder: Encoder, wanted: np.ndarray) -> np.ndarray:
    """Turn features into probabilities, each patch seeing `halo` patches around it; of views the mean of the logits."""
    features, predictor = encoder.features, encoder.predictor
    side, halo, (views, rows, cols, _) = features.chunk, predictor.package.halo, features.shape
    # Without a halo each costs nothing but a reading.
    side *= -(-(_TOGETHER if halo else 256) // side)
    probabilities = np.full(wanted.shape, np.nan, np.float32)
    sums = np.zeros((views, predictor.n_features + 1))
    for top in range(0, len(wanted) if halo else 0, side):
        sums += [slide_sums(view) for view in features.read(Block(top, 0, min(top + side, rows), cols))]

    def finish(block: Block) -> None:
        above, before = min(halo, block.top), min(halo, block.left)
        bottom, right = min(block.bottom + halo, rows), min(block.right + halo, cols)
        around = features.read(Block(block.top - above, block.left - before, bottom, right))
        # Neighbours are turned as each patch was.
        logits = [
            turned_back(predictor.logits(symmetry(view, code), sums[code]), code) for code, view in enumerate(around)
        ]
        found = predictor.calibrated(np.mean(logits, axis=0))[above:, before:]
        probabilities[block.slices] = found[: block.shape[0], : block.shape[1]]

    _compute(
        finish, [block for block in encoder.grid.blocks(side) if wanted[block.slices].any()], predictor.engine.lanes
    )
    return probabilities


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
