"""The regions of a run anew, asked for in another way, without computing any patch again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsi_idc.annotations.formats.qupath import to_geojson
from wsi_idc.base.files import new_folder
from wsi_idc.base.setting import recorded, settings_of, takes_settings
from wsi_idc.heatmap.store import read_grid, read_heatmap, read_label, read_provenance
from wsi_idc.regions.delineate import Delineation, delineate
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.regions.outlining import Outlining
from wsi_idc.regions.regions import measure_slide


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
    numbers = measure_slide(found.regions, found.slivers, float(tissue.sum()) * fine_grid(grid).patch_mm2)
    facts = numbers | {"heatmap": heatmap.name, "outlining": recorded(outlining), "bands": list(outlining.bands)}
    with new_folder(output) as place:
        (place / "regions.geojson").write_text(to_geojson(found.regions, found.bands), encoding="utf-8")
        (place / "measurements.json").write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return found


def run_outlining(provenance: dict[str, Any]) -> Outlining:
    """Return how the regions of a run were made, from the provenance of its heatmap."""
    parameters = provenance["parameters"]
    return Outlining(**{name: parameters[name] for name in settings_of(Outlining)})
