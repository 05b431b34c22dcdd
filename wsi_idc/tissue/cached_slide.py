"""A slide decoded once at one scale and kept on disk, for all that looks at it at that scale."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np

from wsi_idc.base.files import replacing
from wsi_idc.base.grid import Grid
from wsi_idc.base.raster import cut
from wsi_idc.errors import SlideError
from wsi_idc.slides.slide import Slide
from wsi_idc.tissue.glass import CELL_UM, SparseSlide

# Side of what is decoded at once, in pixels of the copy: cells of `glass`, and small enough to busy two threads.
SIDE = 400


class CopiedSlide:
    """Stands for `slide` where it is read: rectangles at `mpp` um/px come from blocks kept in `folder`.

    Blocks are decoded when first asked for, and found again by the next process. Rectangles of another scale, and those
    in blocks that cannot be decoded as a whole, are read from the slide itself. Safe to read from several threads.
    """

    def __init__(self, slide: Slide, mpp: float, folder: Path, sparse: SparseSlide | None = None) -> None:
        """Keep the blocks of `slide` at `mpp` in `folder`, which is made if missing; decode them by `sparse` if given.

        Then empty glass in them is of one colour, until `complete` decodes it.
        """
        self._slide, self._mpp, self._folder, self._sparse = slide, mpp, folder, sparse
        self.path, self.size, self.mpp, self.background = slide.path, slide.size, slide.mpp, slide.background
        self._locks: defaultdict[tuple[int, int], threading.Lock] = defaultdict(threading.Lock)
        self._undecodable: set[tuple[int, int]] = set()

    def read(self, x: float, y: float, width: int, height: int, mpp: float) -> np.ndarray:
        """Read a rectangle as `Slide.read` does: (height, width, 3) uint8 RGB with pixels of `mpp` um."""
        left, top = x * self.mpp.x / mpp, y * self.mpp.y / mpp
        on_pixels = abs(left - round(left)) < 1e-3 and abs(top - round(top)) < 1e-3
        if mpp != self._mpp or not on_pixels or min(round(left), round(top)) < 0:
            return self._slide.read(x, y, width, height, mpp)
        left, top = round(left), round(top)
        out = np.empty((height, width, 3), np.uint8)
        for row, col, within, part in cut(top, left, height, width, (SIDE, SIDE)):
            block = self._block(row, col)
            if block is None:
                return self._slide.read(x, y, width, height, mpp)
            out[part] = block[within]
        return out

    def complete(self, wanted: Iterable[tuple[Grid, np.ndarray]]) -> None:
        """Decode in full, once, the blocks with patches that are wanted though they touch glass left out.

        `wanted` are grids with the patches (rows, cols) bool that are wanted of each.
        """
        if self._sparse is None:
            return
        blocks: set[tuple[int, int]] = set()
        for grid, patches in wanted:
            if grid.mpp != self._mpp:
                continue
            lacking = patches & (grid.share(self._sparse.glass.empty, CELL_UM) > 0)
            size = grid.patch_size
            for corner in (np.argwhere(lacking) * size + grid.shift[::-1]).tolist():
                rows, cols = (range(start // SIDE, (start + size - 1) // SIDE + 1) for start in corner)
                blocks |= set(product(rows, cols))
        for row, col in sorted(blocks):
            self._decode(row, col, self._slide)

    def _block(self, row: int, col: int) -> np.ndarray | None:
        file = self._file(row, col)
        with self._locks[row, col]:
            if (row, col) in self._undecodable:
                return None
            try:
                # Not `np.load`: it parses a header, which in CPython 3.11 is not safe from several threads.
                return np.memmap(file, np.uint8, "r", shape=(SIDE, SIDE, 3))
            except (FileNotFoundError, ValueError):
                # Not there yet, or cut short, when the machine lost its power.
                return self._decode(row, col, self._sparse or self._slide)

    def _file(self, row: int, col: int) -> Path:
        return self._folder / f"{row}-{col}.rgb"

    def _decode(self, row: int, col: int, source: Slide | SparseSlide) -> np.ndarray | None:
        step_x, step_y = SIDE * self._mpp / self.mpp.x, SIDE * self._mpp / self.mpp.y
        try:
            pixels = source.read(col * step_x, row * step_y, SIDE, SIDE, self._mpp)
        except SlideError:
            self._undecodable.add((row, col))
            return None
        with replacing(self._file(row, col), durable=False) as temporary:
            temporary.write_bytes(pixels.tobytes())
        return pixels
