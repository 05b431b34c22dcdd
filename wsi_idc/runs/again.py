"""The regions of a run anew, asked for in another way, without computing any patch again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsi_idc.annotations.formats.qupath import to_geojson
from wsi_idc.base.disk.folders import new_folder
from wsi_idc.base.grid import Grid
from wsi_idc.base.setting import recorded, settings_of, takes_settings
from wsi_idc.errors import DataError
from wsi_idc.heatmap.store import read_grid, read_heatmap, read_label, read_provenance
from wsi_idc.regions.delineate import Delineation, delineate
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.regions.outlining import Outlining
from wsi_idc.regions.regions import measure_slide
from wsi_idc.runs.results.folder import patches_lost, read_summary
from wsi_idc.runs.results.origin import origin_of
from wsi_idc.runs.results.overview import Pictured, draw_overview, read_plain
from wsi_idc.runs.results.words import more_than_tissue, not_computed

WRITTEN = ("regions.geojson", "measurements.json", "overview.png")
# What stands for tissue where no picture of the slide is at hand, and its longer side in pixels.
_PAPER, _SIDE = (225, 225, 230), 700


@takes_settings(Outlining)
def delineate_again(heatmap: Path, output: Path, overwrite: bool = False, **settings: Any) -> Delineation:
    """Outline a heatmap, or that of a run, into the new folder `output`: regions, measurements.json and overview.png.

    What is not given is as it was in the run. The picture is made of that of the run, where the heatmap lies beside it.
    Raises SettingsError for what cannot be meant, DataError where `heatmap` is not one of this tool, OutputError where
    `output` is there already and is not to be overwritten, or holds something else.
    """
    # The folder of a run is what other commands take.
    heatmap = inside if (inside := heatmap / "heatmap.zarr").is_dir() else heatmap
    provenance = read_provenance(heatmap)
    outlining = replace(run_outlining(provenance), **settings)
    probabilities, grid = read_heatmap(heatmap)[0], read_grid(heatmap)
    tissue = read_label(heatmap, "tissue", fine_grid(grid).shape) > 0
    key = provenance["slide_fingerprint"] + provenance["model_sha256"]
    found = delineate(probabilities, grid, tissue, outlining, key)
    summary = _summary_of(heatmap, provenance)
    tissue_mm2 = float(tissue.sum()) * fine_grid(grid).patch_mm2 if summary is None else summary["tissue_mm2"]
    numbers = measure_slide(found.regions, found.slivers, tissue_mm2, int(np.isfinite(probabilities).sum()))
    facts = numbers | {"heatmap": heatmap.name, "outlining": recorded(outlining), "bands": list(outlining.bands)}
    facts["warnings"] = _doubts(summary, grid) + more_than_tissue(numbers, grid)
    run = Pictured(
        title=_title(summary) if summary else heatmap.resolve().parent.name,
        pixels=np.asarray((summary and _plain(heatmap.parent)) or _tissue_only(tissue, grid)),
        heatmap=probabilities,
        failed=np.zeros(probabilities.shape, bool),
        tissue=tissue,
        grid=grid,
        regions=found.regions,
        slivers=found.slivers,
        level=outlining.level,
        threshold=outlining.peak,
        bands=outlining.bands,
    )
    with new_folder(output, overwrite, WRITTEN) as place:
        text = to_geojson(found.regions, found.bands, origin_of(provenance, recorded(outlining)))
        (place / "regions.geojson").write_text(text, encoding="utf-8")
        (place / "measurements.json").write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        draw_overview(place / "overview.png", run)
    return found


def run_outlining(provenance: dict[str, Any]) -> Outlining:
    """Return how the regions of a run were made, from the provenance of its heatmap."""
    parameters = provenance["parameters"]
    return Outlining(**{name: parameters[name] for name in settings_of(Outlining)})


def _summary_of(heatmap: Path, provenance: dict[str, Any]) -> dict[str, Any] | None:
    """Return the summary of the run that a heatmap is of, None where it does not lie beside it.

    The tissue of a run is measured more finely than the heatmap keeps it.
    """
    try:
        summary = read_summary(heatmap.parent)
    except DataError:
        return None
    known = ("slide_fingerprint", "model_sha256", "parameters")
    same = all(summary["identity"].get(name) == provenance[name] for name in known)
    return summary if same and "tissue_mm2" in summary else None


def _doubts(summary: dict[str, Any] | None, grid: Grid) -> list[str]:
    """Return what is doubtful of every outline of a heatmap: what its run warned of, and what that did not compute."""
    if summary is None:
        return ["the run does not lie beside the heatmap: what it warned of and did not compute is not known here"]
    # What was said of the outlines of the run need not hold for others.
    own = more_than_tissue(summary, grid)
    return [*not_computed(summary), *(warning for warning in summary["warnings"] if warning not in own)]


def _title(summary: dict[str, Any]) -> str:
    """Name the slide; which squares failed, the heatmap does not tell from glass, so that a picture says how many."""
    name, lost = summary["slide"]["slide"], patches_lost(summary)
    return f"{name}, incomplete: patches not computed: {lost}" if lost else str(name)


def _plain(run: Path) -> Image.Image | None:
    try:
        return read_plain(run)
    except DataError:
        return None


def _tissue_only(tissue: np.ndarray, grid: Grid) -> Image.Image:
    """Draw the tissue in grey, (h, w) bool over the fine grid, over the whole slide."""
    scale = _SIDE / max(grid.slide_size)
    size = max(1, round(grid.slide_size[0] * scale)), max(1, round(grid.slide_size[1] * scale))
    image = Image.fromarray(np.where(tissue[..., None], _PAPER, 255).astype(np.uint8))
    # The last squares of the grid may reach beyond the slide.
    right, bottom = (min(s / d, n) for s, d, n in zip(grid.slide_size, fine_grid(grid).step, image.size, strict=True))
    return image.resize(size, Image.Resampling.BOX, box=(0.0, 0.0, right, bottom))
