"""Finer than the patch: the probability between the centres of patches, where there is tissue."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt, zoom

from wsi_idc.base.grid import Grid

# Pixels of a field come near to this side, and are never coarser than a patch.
FINE_UM = 22.0


@dataclass(frozen=True, slots=True)
class Field:
    """The probability of IDC over a slide, (h, w) float32 from its top-left corner, and where there is `tissue`, bool.

    0 outside tissue. `grid` has the pixels of the field as its patches.
    """

    values: np.ndarray
    tissue: np.ndarray
    grid: Grid


def per_side(grid: Grid) -> int:
    """Return how many pixels of a field lie along the side of a patch: odd, so that one lies at the centre of it."""
    return 2 * round((max(1.0, grid.patch_um / FINE_UM) - 1) / 2) + 1


def fine_grid(grid: Grid) -> Grid:
    """Return the grid of the pixels of a field: those of a whole part of a patch."""
    return replace(grid, patch_size=1, mpp=grid.patch_um / per_side(grid))


def make_field(heatmap: np.ndarray, grid: Grid, tissue: np.ndarray) -> Field:
    """Interpolate probabilities (rows, cols), NaN for none, between the centres of patches (bilinear).

    `tissue` is bool over `fine_grid(grid)`. Where a patch was not computed, the nearest one that was stands for it: at
    the rim of tissue, of which a patch holds too little, it decides up to the edge that is seen. What must not be
    filled, since it could not be read, is not tissue.
    """
    fine = fine_grid(grid)
    known = np.isfinite(heatmap)
    if not known.any():
        return Field(np.zeros(fine.shape, np.float32), tissue, fine)
    if not known.all():
        nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
        heatmap = heatmap[tuple(nearest)]
    values = fitted(zoom(heatmap.astype(np.float32), per_side(grid), order=1, mode="nearest", grid_mode=True), fine)
    values[~tissue] = 0
    return Field(values, tissue, fine)


def fitted(values: np.ndarray, fine: Grid) -> np.ndarray:
    """Cut values over patches to a fine grid, or repeat the last: at the end of a slide both round for themselves."""
    rows, cols = fine.shape
    short = [(0, max(0, n - m)) for n, m in zip(fine.shape, values.shape, strict=True)]
    return (np.pad(values, short, mode="edge") if any(map(any, short)) else values)[:rows, :cols]
