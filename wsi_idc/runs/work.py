"""A slide on its way from its file to its results: what the stages of a run hand on."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.base.grid import Grid
from wsi_idc.heatmap.store import HeatmapSpec, HeatmapStore
from wsi_idc.heatmap.stream import StreamReport
from wsi_idc.inference.familiar import Familiarity
from wsi_idc.models.package import ModelPackage
from wsi_idc.regions.delineate import Delineation
from wsi_idc.runs.settings import Settings
from wsi_idc.slides.slide import Slide
from wsi_idc.tissue.tissue import TissueMap


@dataclass(slots=True)
class Work:
    """What a run is begun with, and below that what each of its steps adds; see `steps`.

    `settings` are resolved for the model. What is dear to compute lies in `unfinished` until the run ends. `times` has
    the moment at which each stage ended. `large` says that the memory of a step is worth giving back.
    """

    slide: Slide
    package: ModelPackage
    settings: Settings
    identity: dict[str, Any]
    unfinished: Path
    times: dict[str, float] = field(default_factory=dict)

    # Found: the tissue, also as bool over `fine_grid(grid)`; the grids of patches, each with those to be computed; the
    # squares that get a probability, and which of them, (rows, cols) bool.
    tissue: TissueMap = field(init=False)
    tissue_fine: np.ndarray = field(init=False)
    patch_grids: list[tuple[Grid, np.ndarray]] = field(init=False)
    grid: Grid = field(init=False)
    wanted: np.ndarray = field(init=False)
    large: bool = field(init=False)

    # Computed: on which engine, None where there was nothing to compute; (rows, cols) float32, NaN for none.
    engine: str | None = field(init=False)
    heatmap: HeatmapStore = field(init=False)
    probabilities: np.ndarray = field(init=False)
    report: StreamReport = field(init=False)
    familiarity: Familiarity | None = field(init=False)

    # Outlined.
    found: Delineation = field(init=False)

    @property
    def n_patches(self) -> int:
        """The patches to be computed, of all grids together."""
        return sum(int(wanted.sum()) for _, wanted in self.patch_grids)

    @property
    def failed(self) -> np.ndarray:
        """The squares that were to be computed and have no probability, (rows, cols) bool."""
        return self.wanted & ~np.isfinite(self.probabilities)

    @property
    def key(self) -> str:
        """What tells the regions of this slide and model from all others."""
        return str(self.identity["slide_fingerprint"] + self.identity["model_sha256"])

    @property
    def heatmap_spec(self) -> HeatmapSpec:
        """The heatmap that is to be computed, with its provenance."""
        facts: dict[str, Any] = {"slide": self.slide.name, "model": self.package.name, "engine": self.engine}
        facts |= {"patch_um": self.grid.patch_um, "grid": asdict(self.grid)}
        return HeatmapSpec(self.grid, self.identity | {"wsi_idc": version("wsi-idc")} | facts)

    def ended(self, stage: str) -> None:
        """Take note that a stage has ended."""
        self.times[stage] = time.perf_counter()
