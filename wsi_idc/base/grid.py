"""The arithmetic of patches, chunks and level-0 pixels: where they lie, and what of a slide each covers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wsi_idc.base.raster import area_weights


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle of the grid in patches: rows `top` to `bottom` and columns `left` to `right`, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """The index of this block in an array over the grid."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def pieces(self, side: int) -> list[Block]:
        """Cut the block into as few pieces as there can be of at most `side` patches a side, all about as large."""
        rows, cols = (_edges(*ends, side) for ends in ((self.top, self.bottom), (self.left, self.right)))
        return [Block(top, left, bottom, right) for top, bottom in pairwise(rows) for left, right in pairwise(cols)]


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the patches of a slide lie: row 0, column 0 at the slide's top-left corner, no overlap.

    `slide_size` is (width, height) in level-0 pixels, `slide_mpp` (x, y) in um per level-0 pixel, `patch_size` in
    pixels at `mpp`, the model's scale in um per pixel. The last row and column may reach beyond the slide. `shift`
    (x, y), in pixels at `mpp`, moves all patches to the right and down.
    """

    slide_size: tuple[int, int]
    slide_mpp: tuple[float, float]
    patch_size: int
    mpp: float
    shift: tuple[int, int] = (0, 0)

    @property
    def patch_um(self) -> float:
        """Side of a patch in um."""
        return self.patch_size * self.mpp

    @property
    def patch_mm2(self) -> float:
        """Area of a patch in mm2."""
        return self.patch_um**2 / 1e6

    @property
    def step(self) -> tuple[float, float]:
        """Width and height of a patch in level-0 pixels."""
        return self.patch_um / self.slide_mpp[0], self.patch_um / self.slide_mpp[1]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of patches that cover the slide."""
        # A sliver under a thousandth of a patch is rounding of the mpp, not tissue.
        cols, rows = (
            max(1, math.ceil(s / d - o / self.patch_size - 1e-3))
            for s, d, o in zip(self.slide_size, self.step, self.shift, strict=True)
        )
        return rows, cols

    def origin(self, block: Block) -> tuple[float, float]:
        """Return the top-left corner (x, y) of a block in level-0 pixels."""
        x, y = (o / self.patch_size * d for o, d in zip(self.shift, self.step, strict=True))
        return x + block.left * self.step[0], y + block.top * self.step[1]

    def pixel_size(self, block: Block) -> tuple[int, int]:
        """Return the width and height of a block in pixels at the model's mpp."""
        rows, cols = block.shape
        return cols * self.patch_size, rows * self.patch_size

    def to_level0(self, corners: np.ndarray) -> np.ndarray:
        """Map (n, 2) patch corners, as (column, row) and maybe fractional, to level-0 pixels (x, y)."""
        return (np.asarray(corners, float) + np.array(self.shift) / self.patch_size) * np.array(self.step)

    def blocks(self, side: int) -> list[Block]:
        """Cut the grid into blocks of at most `side` patches a side, row by row."""
        rows, cols = self.shape
        return [
            Block(top, left, min(top + side, rows), min(left + side, cols))
            for top in range(0, rows, side)
            for left in range(0, cols, side)
        ]

    def share(self, mask: np.ndarray, mask_um: float) -> np.ndarray:
        """Average a mask over each patch, exactly by area.

        `mask` is (h, w) with pixels of `mask_um` um from the slide's top-left corner. Returns (rows, cols) float32
        in 0 to 1; what lies beyond the mask counts as 0.
        """
        rows, cols = self.shape
        pixels = self.patch_um / mask_um
        left, top = (o * self.mpp / mask_um for o in self.shift)
        vertical = area_weights(rows, top, pixels, mask.shape[0])
        horizontal = area_weights(cols, left, pixels, mask.shape[1])
        # By bands: as numbers a mask takes four times the memory.
        shares, vertical = np.zeros((rows, cols), np.float32), vertical.tocsc()
        for top in range(0, len(mask), 256):
            band = mask[top : top + 256]
            shares += vertical[:, top : top + 256] @ (horizontal @ band.T.astype(np.float32)).T
        return shares


def _edges(start: int, stop: int, side: int) -> list[int]:
    """Divide a stretch into equal parts of at most `side`; of an empty one there are none."""
    parts = -(-(stop - start) // side)
    return [start + (stop - start) * n // parts for n in range(parts)] + [stop]
