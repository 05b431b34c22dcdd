"""Chunks of patches to features: read, put through the encoder, and kept on disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from wsi_idc.base.grid import Block, Grid
from wsi_idc.errors import SlideError
from wsi_idc.heatmap.features import KeptFeatures
from wsi_idc.inference.predictor import Predictor
from wsi_idc.inference.symmetry import symmetry
from wsi_idc.slides.slide import Slide
from wsi_idc.tissue.cached_slide import CopiedSlide
from wsi_idc.tissue.glass import SparseSlide
from wsi_idc.tissue.tissue import READ_UM


class Source(Protocol):
    """What patches are read from: a `slide.Slide`, or what stands for one."""

    def read(self, x: float, y: float, width: int, height: int, mpp: float) -> np.ndarray:
        """Read a rectangle; see `slide.Slide.read`."""
        ...


# A chunk of the grid, or what is wanted of it, and which of these patches are wanted, (r, c) bool.
Chunk = tuple[Block, np.ndarray]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Seconds that encoding a chunk took, how many of its patches could not be decoded, and why not.

    Of `numberless` patches the model gives no number.
    """

    read_s: float = 0.0
    infer_s: float = 0.0
    lost: int = 0
    reason: str = ""
    numberless: int = 0


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
        numberless = []
        for number, (block, _) in enumerate(chunks):
            features = np.stack([view[number] for view in views])
            # In one view is in all: a mean over some of them would be a number of another kind.
            known = np.isfinite(features[..., 0]).all(axis=0)
            features[:, ~known] = np.nan
            numberless.append(int((found[number][1] & ~known).sum()))
            self.features.keep(block, features)
        seconds = (read - started) / len(chunks), (time.perf_counter() - read) / len(chunks)
        return [
            Encoded(*seconds, int((wanted & ~present).sum()), reason, none)
            for (_, wanted), (_, present, reason), none in zip(chunks, found, numberless, strict=True)
        ]


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
