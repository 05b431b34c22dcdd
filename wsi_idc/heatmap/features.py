"""Features of patches, kept on disk by chunks while a slide is computed, so that a run that is killed can go on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsi_idc.base.files import replacing
from wsi_idc.base.grid import Block
from wsi_idc.base.raster import cut


@dataclass(frozen=True, slots=True)
class KeptFeatures:
    """Features (views, rows, cols, n) float32 of the patches of a grid, by chunks of `chunk` patches a side.

    Each chunk is a file of bare numbers in `folder`, there whole or not at all: of a 40x slide there are thousands, and
    to write one as a chunk of Zarr takes five times as long. No header: NumPy's parser of it is not safe from several
    threads in CPython 3.11. Patches without features are NaN.
    """

    folder: Path
    shape: tuple[int, int, int, int]
    chunk: int

    def holds(self, block: Block, wanted: np.ndarray) -> bool:
        """Say whether of a block within a chunk just the features of `wanted`, (r, c) bool, are kept."""
        try:
            return bool((np.isfinite(self.read(block)[0, ..., 0]) == wanted).all())
        except ValueError:
            # Cut short, when the machine lost its power.
            return False

    def keep(self, block: Block, features: np.ndarray) -> None:
        """Keep the features (views, r, c, n) of a block, and none of the rest of its chunk.

        No two threads may keep the same chunk at once.
        """
        ((row, col, within, _),) = cut(block.top, block.left, *block.shape, (self.chunk, self.chunk))
        chunk = np.full((self.shape[0], self.chunk, self.chunk, self.shape[3]), np.nan, np.float32)
        chunk[(slice(None), *within)] = features
        with replacing(self._file(row, col), durable=False) as temporary:
            temporary.write_bytes(chunk.tobytes())

    def read(self, block: Block) -> np.ndarray:
        """Return the features (views, r, c, n) of any rectangle of the grid."""
        views, _, _, n = self.shape
        whole = (views, self.chunk, self.chunk, n)
        out = np.full((views, *block.shape, n), np.nan, np.float32)
        for row, col, within, part in cut(block.top, block.left, *block.shape, (self.chunk, self.chunk)):
            if (file := self._file(row, col)).exists():
                out[(slice(None), *part)] = np.fromfile(file, np.float32).reshape(whole)[(slice(None), *within)]
        return out

    def _file(self, row: int, col: int) -> Path:
        return self.folder / f"{row}-{col}.f32"
