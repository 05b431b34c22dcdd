"""The demonstration: paint a section, segment it, and compare with what was painted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.base.disk.left import temporary_folder
from wsi_idc.base.disk.trouble import output_error
from wsi_idc.base.files import put_in_place
from wsi_idc.base.grid import Grid
from wsi_idc.demo.painter import CLASSES, PaintedSection, paint_section
from wsi_idc.heatmap.store import read_heatmap
from wsi_idc.models.registry import find_model
from wsi_idc.runs.batch import segment
from wsi_idc.runs.memory import keeping
from wsi_idc.runs.settings import SegmentResult
from wsi_idc.slides.write import write_slide


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The painted slide, what segmenting it left, and by painted class the share found as IDC and the patches."""

    slide: Path
    outcome: SegmentResult
    found: dict[str, tuple[float, int]]

    def regions(self) -> list[dict[str, Any]]:
        """Return the measurements of the regions, by name, from the largest down."""
        features = json.loads(self.outcome.regions.read_text(encoding="utf-8"))["features"]
        return [{"name": f["properties"]["name"]} | f["properties"]["measurements"] for f in features]


def run_demo(output: Path, seed: int = 3, engine: str = "auto", overwrite: bool = False) -> DemoResult:
    """Paint a section from `seed`, write it as a slide under `output`, segment it with the shipped model and compare.

    A patch belongs to the class that covers most of it; patches that were not computed count as not IDC. What is there
    of the same demonstration is used; raises OutputError where it is another one and not to `overwrite`.
    """
    with keeping():
        section = paint_section(seed=seed)
    slide = _write(output / f"painted-{seed}.tif", section, overwrite)
    outcome = segment(slide, output, engine=engine, overwrite=overwrite)
    heatmap, _ = read_heatmap(outcome.heatmap)
    model = find_model()
    height, width = section.labels.shape
    grid = Grid((width, height), (section.mpp, section.mpp), model.patch_size, model.mpp)
    cover = np.stack([grid.share(section.labels == i, section.mpp) for i in range(len(CLASSES))])
    painted = cover.argmax(0)
    idc = np.nan_to_num(heatmap) >= outcome.summary["parameters"]["threshold"]
    found = {
        name: (float(idc[here].mean()) if (here := painted == i).any() else 0.0, int(here.sum()))
        for i, name in enumerate(CLASSES)
    }
    return DemoResult(slide, outcome, found)


def _write(path: Path, section: PaintedSection, overwrite: bool) -> Path:
    """Write a painted section as a slide; raises OutputError where another file has its name, without `overwrite`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(path.parent, path.name) as temporary:
            made = write_slide(Path(temporary) / path.name, section.pixels, section.mpp)
            put_in_place(made, path, overwrite)
    except OSError as error:
        raise output_error(path, error) from error
    return path
