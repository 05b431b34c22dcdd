"""What a viewer asks of a run beside its slide: heat, and the regions of any threshold."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.formats.qupath import IDC_CLASS
from wsi_idc.heatmap.store import read_grid, read_heatmap, read_label
from wsi_idc.regions.delineate import Delineation, delineate_field
from wsi_idc.regions.interpolate import Field, fine_grid, make_field, per_side
from wsi_idc.regions.regions import measure_slide
from wsi_idc.runs.again import run_outlining
from wsi_idc.runs.results.folder import read_summary
from wsi_idc.slides.slide import Slide
from wsi_idc.viewer.preview import Preview
from wsi_idc.viewer.tiles import OpenedSlide, heat_image

# Thresholds whose regions are kept.
_KEPT = 16


class OpenedRun(OpenedSlide):
    """A run with its slide."""

    def __init__(self, run: Path, slide: Slide) -> None:
        """Read the run in a folder; raises DataError where it is none or is damaged."""
        super().__init__(slide)
        self.folder, self.summary = run, read_summary(run)
        store = run / "heatmap.zarr"
        self._heatmap, provenance = read_heatmap(store)
        self._grid = read_grid(store)
        self._tissue = read_label(store, "tissue", fine_grid(self._grid).shape) > 0
        self.outlining = run_outlining(provenance)
        self._key = provenance["slide_fingerprint"] + provenance["model_sha256"]
        self.regions = lru_cache(_KEPT)(self._regions)

    def annotations(self, threshold: float) -> list[Annotation]:
        """Return the regions of a threshold as annotations; raises SettingsError where it is none."""
        found = self._delineated(threshold)
        return [Annotation(r.geometry, str(IDC_CLASS["name"]), id=r.id) for r in found.regions]

    def _delineated(self, threshold: float) -> Delineation:
        low = self.outlining.low
        asked = replace(self.outlining, low=low and min(low, threshold), bands=(), threshold=threshold)
        return delineate_field(self._field, per_side(self._grid), asked, self._key)

    @cached_property
    def _field(self) -> Field:
        return make_field(self._heatmap, self._grid, self._tissue)

    @cached_property
    def _preview(self) -> Preview:
        return Preview(self._field, self.outlining)

    def preview(self, threshold: float, box: tuple[float, float, float, float]) -> dict[str, Any]:
        """Outline at once what lies in a box of the map, about as `regions` does; see `Preview.lines`.

        Raises SettingsError where the threshold is none.
        """
        replace(self.outlining, low=None, threshold=threshold)
        flat = np.array([1, self.stretch])
        left, top, right, bottom = box
        found = self._preview.lines(threshold, (left, top / self.stretch, right, bottom / self.stretch))
        lines = [np.rint(line * flat).astype(int).ravel().tolist() for line in found["lines"]]
        return found | {"threshold": threshold, "lines": lines}

    def _regions(self, threshold: float) -> dict[str, Any]:
        """Outline the run at another threshold, as `delineate` does: numbers, and outlines for the map.

        Raises SettingsError where the threshold is none.
        """
        found = self._delineated(threshold)
        shown = [
            {"number": n, "area_mm2": round(r.area_mm2, 4), "rings": self.on_map(r.geometry)}
            for n, r in enumerate(found.regions, 1)
        ]
        return {
            "threshold": threshold,
            "regions": shown,
            "slivers": [self.on_map(r.geometry) for r in found.slivers],
            "numbers": measure_slide(
                found.regions, found.slivers, float(self.summary["tissue_mm2"]), self.summary["patches"]
            ),
        }

    def warm(self) -> None:
        """Make ready what the first move of a threshold would wait for."""
        _ = self._preview

    def heat(self) -> bytes:
        """Return the probabilities in colour, a pixel a patch, as PNG; what the run outlines nowhere is not seen."""
        return heat_image(self._heatmap, self.outlining.level)

    def probability(self, x: float, y: float) -> float | None:
        """Return the probability of the patch at a place of the map; None where there is none."""
        return self.value_at(self._heatmap, self._grid.step, x, y)

    def heat_size(self) -> list[float]:
        """Return how far the heat reaches on the map."""
        rows, cols = self._heatmap.shape
        return [cols * self._grid.step[0], rows * self._grid.step[1] * self.stretch]
