"""A run for other programs: its layers with their places in micrometres, from the top-left corner of the slide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.read import read_annotations
from wsi_idc.errors import SlideError
from wsi_idc.heatmap.store import read_grid, read_heatmap, read_label
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.runs.results.folder import OUTPUTS, read_summary
from wsi_idc.runs.results.origin import check_slide, find_slide
from wsi_idc.slides.slide import Slide

# Pixels of the longer side of the slide's picture, at most, and um of one at least.
_LONGEST, _FINEST_UM = 4096, 4.0
LABELS = ("idc", "tissue")


@dataclass(frozen=True, slots=True)
class Layer:
    """An image over a whole slide from its top-left corner: (h, w) or (h, w, 3), square pixels of `um` micrometres."""

    name: str
    pixels: np.ndarray
    um: float


@dataclass(frozen=True, slots=True)
class RunLayers:
    """What a run shows of its slide.

    `heat` are probabilities, NaN for none; `labels` are "idc" and "tissue"; `regions` are in micrometres, each the
    annotation that it is; `slide` is the H&E at 4 um per pixel or coarser, None where it was not found.
    """

    name: str
    heat: Layer
    labels: list[Layer]
    regions: list[tuple[Annotation, shapely.Geometry]]
    slide: Layer | None
    provenance: dict[str, Any]


def read_layers(run: Path, slide: Path | None = None) -> RunLayers:
    """Read a run, or a heatmap.zarr alone, which has no regions; `slide` is where its slide is, else it is looked for.

    Raises DataError where `run` is neither, SlideError where a `slide` that is given is not that of the run.
    """
    folder = run.parent if run.name == OUTPUTS[0] else run
    store = folder / OUTPUTS[0] if folder != run or (run / OUTPUTS[-1]).is_file() else run
    values, facts = read_heatmap(store)
    grid = read_grid(store)
    fine = fine_grid(grid)
    labels = [Layer(name, read_label(store, name, fine.shape), fine.patch_um) for name in LABELS]
    regions: list[tuple[Annotation, shapely.Geometry]] = []
    shown = None
    if store.name == OUTPUTS[0] and (folder / OUTPUTS[-1]).is_file():
        mpp = np.array(grid.slide_mpp)
        found = read_annotations(folder).annotations
        regions = [(one, shapely.transform(one.geometry, lambda xy: xy * mpp)) for one in found]
        shown = _picture(folder, slide)
    return RunLayers(folder.name, Layer("IDC probability", values, grid.patch_um), labels, regions, shown, facts)


def _picture(run: Path, given: Path | None) -> Layer | None:
    summary = read_summary(run)
    try:
        asked = summary["parameters"]
        with Slide(given or find_slide(run), asked["mpp"], icc=asked.get("icc", "ignore")) as slide:
            check_slide(run, slide)
            width, height = (n * m for n, m in zip(slide.size, (slide.mpp.x, slide.mpp.y), strict=True))
            um = max(_FINEST_UM, max(width, height) / _LONGEST, slide.mpp.x, slide.mpp.y)
            pixels = slide.read(0, 0, max(1, round(width / um)), max(1, round(height / um)), um)
    except SlideError:
        if given:
            raise
        # It has moved since, or was not passed on.
        return None
    return Layer(str(summary["slide"]["slide"]), pixels, um)
