"""Features to the heatmap: each chunk of it is computed, and written, as soon as all that it needs is there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsi_idc.base.grid import Block
from wsi_idc.base.raster import cut
from wsi_idc.base.threads import in_parallel
from wsi_idc.heatmap.encode import Encoder
from wsi_idc.heatmap.overlap import merge, under
from wsi_idc.heatmap.store import HeatmapSpec, HeatmapStore, heatmap_chunks
from wsi_idc.inference.predictor import slide_sums
from wsi_idc.inference.symmetry import symmetry, turned_back

# Patches a side, at most, whose neighbourhoods are computed together: the halo around them is computed for nothing.
_TOGETHER = 48
# One of the overlapping grids of patches of a slide, and which of its patches are wanted, (rows, cols) bool.
EncodedGrid = tuple[Encoder, np.ndarray]


class Finisher:
    """Makes the heatmap of a slide out of the features of its patches.

    The chunks of a patch model are written while others are encoded. Those of a context model need the mean of the
    slide, so none of them is begun before all is encoded; those that a run that was killed has written are kept.
    """

    def __init__(self, grids: Sequence[EncodedGrid], spec: HeatmapSpec, wanted: np.ndarray, folder: Path) -> None:
        """Wait for the features of `grids`, over which lie the squares of a heatmap.

        Of these just the `wanted` ones get a probability, (rows, cols) bool. The store lies in `folder`, under a name
        that tells two heatmaps of the same run apart, where the features were not the same; one that is there of that
        name is gone on with.
        """
        self._encoded, self._spec, self._wanted, self._folder = grids, spec, wanted, folder
        self._grid = grid = spec.grid
        self._predictor = grids[0][0].predictor
        self._lock = threading.Lock()
        # Squares of a chunk of the heatmap for which the context network gave no number, by chunk.
        self.numberless: dict[Block, int] = {}
        needs = {block: self._needs(block) for block in heatmap_chunks(grid)}
        self._waiting = {block: needed for block, needed in needs.items() if needed}
        self._sums = [np.zeros((encoder.features.shape[0], self._predictor.n_features + 1)) for encoder, _ in grids]
        if not self._predictor.package.halo:
            self._heatmap = self._resume()

    def encoded(self, grid_number: int, block: Block) -> None:
        """Take note of a chunk of a grid whose features are there; may be called from several threads at once."""
        if self._predictor.package.halo:
            return
        side = self._encoded[grid_number][0].features.chunk
        with self._lock:
            for needed in self._waiting.values():
                needed.discard((grid_number, block.top // side, block.left // side))
            ready = [waiting for waiting, needed in self._waiting.items() if not needed]
            for block in ready:
                del self._waiting[block]
        for block in ready:
            self._finish(block)

    def complete(self) -> HeatmapStore:
        """Write what could not be written before all was encoded; return the heatmap."""
        if self._predictor.package.halo:
            self._sums = [_slide_sums(encoder) for encoder, _ in self._encoded]
            self._heatmap = self._resume()
            for block in self._waiting:
                if not self._heatmap.holds(block, self._wanted[block.slices]):
                    self._finish(block)
        return self._heatmap

    def slide_sums(self) -> np.ndarray:
        """Return the sums over all patches of the first grid, as they are; see `inference.slide_sums`."""
        sums: np.ndarray = (self._sums[0] if self._predictor.package.halo else _slide_sums(self._encoded[0][0]))[0]
        return sums

    def _resume(self) -> HeatmapStore:
        """Begin the heatmap, or go on with it, named by what a chunk of it depends on elsewhere on the slide."""
        features = [encoder.features.folder.name.encode() for encoder, _ in self._encoded]
        name = hashlib.sha256(b"".join([*features, *(sums.tobytes() for sums in self._sums)])).hexdigest()[:16]
        return HeatmapStore.resume(self._folder / f"heatmap-{name}.zarr", self._spec)

    def _needs(self, block: Block) -> set[tuple[int, int, int]]:
        """Return the chunks of patches, as number of the grid, row and column, that a chunk of the heatmap needs."""
        needed = set()
        for grid_number, (encoder, wanted) in enumerate(self._encoded):
            part, side = under(encoder.grid, self._grid, block), encoder.features.chunk
            for row, col, *_ in cut(part.top, part.left, *part.shape, (side, side)):
                if wanted[row * side : (row + 1) * side, col * side : (col + 1) * side].any():
                    needed.add((grid_number, row, col))
        return needed

    def _finish(self, block: Block) -> None:
        """Compute and write a chunk of the heatmap."""
        parts = [under(encoder.grid, self._grid, block) for encoder, _ in self._encoded]
        found = [np.full(part.shape, np.nan, np.float32) for part in parts]

        def compute(work: tuple[int, Block]) -> None:
            grid_number, piece = work
            part = parts[grid_number]
            here = Block(piece.top - part.top, piece.left - part.left, piece.bottom - part.top, piece.right - part.left)
            found[grid_number][here.slices] = self._probabilities(grid_number, piece)

        work = [
            (grid_number, piece)
            for grid_number, (part, (_, wanted)) in enumerate(zip(parts, self._encoded, strict=True))
            for piece in part.pieces(_TOGETHER)
            if wanted[piece.slices].any()
        ]
        in_parallel(compute, work, self._predictor.engine.lanes)
        grids = [encoder.grid for encoder, _ in self._encoded]
        merged = merge(zip(grids, parts, found, strict=True), self._grid, block)
        wanted = self._wanted[block.slices]
        if none := int((wanted & np.isinf(merged)).sum()):
            self.numberless[block] = none
        self._heatmap.write(block, np.where(wanted & np.isfinite(merged), merged, np.float32(np.nan)))

    def _probabilities(self, grid_number: int, block: Block) -> np.ndarray:
        """Turn features into probabilities (r, c), each patch seeing those around it; of views the mean of logits.

        Infinite where there is a patch, but no number for it: so are then all squares that it covers, in `merge`.
        """
        encoder, predictor = self._encoded[grid_number][0], self._predictor
        halo, (_, rows, cols, _) = predictor.package.halo, encoder.features.shape
        above, before = min(halo, block.top), min(halo, block.left)
        bottom, right = min(block.bottom + halo, rows), min(block.right + halo, cols)
        around = encoder.features.read(Block(block.top - above, block.left - before, bottom, right))
        # Neighbours are turned as each patch was.
        logits = [
            turned_back(predictor.logits(symmetry(view, code), self._sums[grid_number][code]), code)
            for code, view in enumerate(around)
        ]
        found = predictor.calibrated(np.mean(logits, axis=0))
        found[np.isnan(found) & np.isfinite(around[0, ..., 0])] = np.inf
        found = found[above:, before:]
        return found[: block.shape[0], : block.shape[1]]


def _slide_sums(encoder: Encoder) -> np.ndarray:
    """Sum the features of all patches, view by view; see `inference.slide_sums`."""
    views, *_, n = encoder.features.shape
    sums = np.zeros((views, n + 1))
    for block in encoder.grid.blocks(encoder.features.chunk):
        sums += [slide_sums(view) for view in encoder.features.read(block)]
    return sums
