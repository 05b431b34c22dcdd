"""From a heatmap to what is written of it: regions, bands and labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsi_idc.base.grid import Grid
from wsi_idc.regions.interpolate import Field, fine_grid, fitted, make_field, per_side
from wsi_idc.regions.outlining import Outlining
from wsi_idc.regions.regions import Band, Region, find_bands, find_regions


@dataclass(frozen=True, slots=True)
class Delineation:
    """The regions and bands of a heatmap; `numbers` (h, w) uint32 has the number of the region, from 1, or 0.

    `slivers` are regions too small to count as foci: they are none of the regions, and in no number of them.
    """

    regions: list[Region]
    slivers: list[Region]
    bands: list[Band]
    numbers: np.ndarray


def delineate(
    heatmap: np.ndarray,
    grid: Grid,
    tissue: np.ndarray,
    outlining: Outlining,
    key: str = "",
) -> Delineation:
    """Outline the probabilities (rows, cols), NaN for none, of a grid; `tissue` is bool over `field.fine_grid(grid)`.

    `key` enters the ids. Raises SettingsError where the threshold is left to a model.
    """
    return delineate_field(make_field(heatmap, grid, tissue), per_side(grid), outlining, key)


def delineate_field(field: Field, side: int, outlining: Outlining, key: str = "") -> Delineation:
    """Outline a field of which `side` pixels lie along the side of a patch; see `delineate`."""
    regions, slivers, numbers = find_regions(field, outlining, side, key)
    bands = find_bands(field, outlining.bands, outlining.smooth_um, key) if outlining.bands else []
    return Delineation(regions, slivers, bands, numbers)


def fine_tissue(mask: np.ndarray, mask_um: float, grid: Grid) -> np.ndarray:
    """Return where at least half of a fine pixel is tissue, bool over `fine_grid(grid)`.

    `mask` is (h, w) bool at `mask_um` um.
    """
    return fine_grid(grid).share(mask, mask_um) >= 0.5


def without_patches(tissue: np.ndarray, grid: Grid, patches: np.ndarray) -> np.ndarray:
    """Return the tissue, bool over `fine_grid(grid)`, that lies in none of these patches, (rows, cols) bool."""
    side = per_side(grid)
    return tissue & ~fitted(patches.repeat(side, 0).repeat(side, 1), fine_grid(grid))
