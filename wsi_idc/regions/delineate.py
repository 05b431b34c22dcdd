"""From a heatmap to what is written of it: regions, bands and labels; also anew, without computing any patch again."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.annotations.qupath import to_geojson
from wsi_idc.base.files import new_folder
from wsi_idc.base.setting import recorded, settings_of, takes_settings
from wsi_idc.grid import Grid
from wsi_idc.heatmap.store import read_grid, read_heatmap, read_label, read_provenance
from wsi_idc.regions.interpolate import fine_grid, fitted, make_field, per_side
from wsi_idc.regions.outlining import Outlining
from wsi_idc.regions.regions import Band, Region, find_bands, find_regions
from wsi_idc.runs.summary import measure_slide


@dataclass(frozen=True, slots=True)
class Delineation:
    """The regions and bands of a heatmap; `numbers` (h, w) uint32 has the number of the region, from 1, or 0."""

    regions: list[Region]
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
    field = make_field(heatmap, grid, tissue)
    regions, numbers = find_regions(field, outlining, per_side(grid), key)
    bands = find_bands(field, outlining.bands, outlining.smooth_um, key) if outlining.bands else []
    return Delineation(regions, bands, numbers)


def fine_tissue(mask: np.ndarray, mask_um: float, grid: Grid) -> np.ndarray:
    """Return where at least half of a fine pixel is tissue, bool over `fine_grid(grid)`.

    `mask` is (h, w) bool at `mask_um` um.
    """
    return fine_grid(grid).share(mask, mask_um) >= 0.5


def without_patches(tissue: np.ndarray, grid: Grid, patches: np.ndarray) -> np.ndarray:
    """Return the tissue, bool over `fine_grid(grid)`, that lies in none of these patches, (rows, cols) bool."""
    side = per_side(grid)
    return tissue & ~fitted(patches.repeat(side, 0).repeat(side, 1), fine_grid(grid))


@takes_settings(Outlining)
def delineate_again(heatmap: Path, output: Path, **settings: Any) -> Delineation:
    """Outline the heatmap of a run again into the new folder `output`: regions.geojson and measurements.json.

    What is not given is as it was in the run. Raises SettingsError for what cannot be meant, DataError where `heatmap`
    is not one of this tool, OutputError where `output` is there already.
    """
    provenance = read_provenance(heatmap)
    outlining = replace(run_outlining(provenance), **settings)
    probabilities, grid, tissue = read_heatmap(heatmap)[0], read_grid(heatmap), read_label(heatmap, "tissue") > 0
    key = provenance["slide_fingerprint"] + provenance["model_sha256"]
    found = delineate(probabilities, grid, tissue, outlining, key)
    numbers = measure_slide(found.regions, float(tissue.sum()) * fine_grid(grid).patch_mm2)
    facts = numbers | {"heatmap": heatmap.name, "outlining": recorded(outlining), "bands": list(outlining.bands)}
    with new_folder(output) as place:
        (place / "regions.geojson").write_text(to_geojson(found.regions, found.bands), encoding="utf-8")
        (place / "measurements.json").write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return found


def run_outlining(provenance: dict[str, Any]) -> Outlining:
    """Return how the regions of a run were made, from the provenance of its heatmap."""
    parameters = provenance["parameters"]
    return Outlining(**{name: parameters[name] for name in settings_of(Outlining)})
