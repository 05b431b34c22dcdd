"""What a viewer asks of a run and its slide: tiles at any magnification, and the regions of any threshold."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from PIL import Image

from wsi_idc.base.pages.colours import heat_colours
from wsi_idc.errors import SlideError
from wsi_idc.heatmap.store import read_grid, read_heatmap, read_label
from wsi_idc.regions.delineate import delineate
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.regions.regions import measure_slide
from wsi_idc.runs.again import run_outlining
from wsi_idc.runs.results.folder import read_summary
from wsi_idc.runs.results.origin import check_slide, find_slide
from wsi_idc.slides.slide import Slide

# Side of a tile in pixels, and how many are kept: some 50 MB.
TILE = 512
_KEPT = 512


class OpenedRun:
    """A run with its slide. Places are in pixels of the map: level-0 pixels, as wide as high. Threads may share it."""

    def __init__(self, run: Path, slide: Slide) -> None:
        """Read the run in a folder; raises DataError where it is none or is damaged."""
        self.slide, self.summary = slide, read_summary(run)
        store = run / "heatmap.zarr"
        self._heatmap, provenance = read_heatmap(store)
        self._grid, self._tissue = read_grid(store), read_label(store, "tissue") > 0
        self.outlining = run_outlining(provenance)
        self._key = provenance["slide_fingerprint"] + provenance["model_sha256"]
        # A slide whose pixels are wider than high, by a percent or so, is shown as it lies on the glass.
        self._stretch = slide.mpp.y / slide.mpp.x
        self.size = slide.size[0], round(slide.size[1] * self._stretch)
        self.levels = max(0, math.ceil(math.log2(max(self.size) / TILE)))
        self.tile = lru_cache(_KEPT)(self._tile)

    def facts(self) -> dict[str, Any]:
        """Return what the map has to know; `um` is that of a pixel of it."""
        rows, cols = self._heatmap.shape
        return {
            "size": self.size,
            "tile": TILE,
            "levels": self.levels,
            "um": self.slide.mpp.x,
            "heat": [cols * self._grid.step[0], rows * self._grid.step[1] * self._stretch],
        }

    def _tile(self, level: int, column: int, row: int) -> bytes:
        """Return a tile as JPEG, or b"" where it cannot be decoded; at `level` 0 the slide has half a tile to one.

        Raises IndexError where there is no such tile.
        """
        step = 2 ** (self.levels - level) if 0 <= level <= self.levels else 0
        x, y = column * TILE * step, row * TILE * step
        if not step or min(column, row) < 0 or x >= self.size[0] or y >= self.size[1]:
            raise IndexError(f"no tile {level}/{column}/{row}")
        try:
            # At the rim of the slide too a whole one: the rest is background.
            pixels = self.slide.read(x, y / self._stretch, TILE, TILE, self.slide.mpp.x * step)
        except SlideError:
            return b""
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=85)
        return stream.getvalue()

    def regions(self, threshold: float) -> dict[str, Any]:
        """Outline the run at another threshold, as `delineate` does: numbers, and outlines for the map.

        Raises SettingsError where the threshold is none.
        """
        low = self.outlining.low
        asked = replace(self.outlining, low=low and min(low, threshold), bands=(), threshold=threshold)
        found = delineate(self._heatmap, self._grid, self._tissue, asked, self._key)
        tissue_mm2 = float(self._tissue.sum()) * fine_grid(self._grid).patch_mm2
        shown = [
            {"number": n, "area_mm2": round(r.area_mm2, 4), "rings": self._rings(r.geometry)}
            for n, r in enumerate(found.regions, 1)
        ]
        return {
            "threshold": threshold,
            "regions": shown,
            "slivers": [self._rings(r.geometry) for r in found.slivers],
            "numbers": measure_slide(found.regions, found.slivers, tissue_mm2),
        }

    def _rings(self, geometry: shapely.Geometry) -> list[list[list[float]]]:
        flat = shapely.transform(geometry, lambda xy: xy * np.array([1, self._stretch]))
        return [shapely.get_coordinates(ring).tolist() for ring in shapely.get_rings(shapely.get_parts(flat))]

    def heat(self) -> bytes:
        """Return the probabilities in colour, a pixel a patch, as PNG; what the run outlines nowhere is not seen."""
        level = self.outlining.level
        seen = np.nan_to_num(self._heatmap) >= level
        colours = heat_colours(np.nan_to_num(self._heatmap), level)
        image = Image.fromarray(np.dstack([colours, np.where(seen, 255, 0).astype(np.uint8)]))
        stream = io.BytesIO()
        image.save(stream, "PNG", compress_level=1)
        return stream.getvalue()

    def probability(self, x: float, y: float) -> float | None:
        """Return the probability of the patch at a place of the map; None where there is none."""
        column, row = int(x // self._grid.step[0]), int(y / self._stretch // self._grid.step[1])
        rows, cols = self._heatmap.shape
        if not (0 <= row < rows and 0 <= column < cols) or not np.isfinite(self._heatmap[row, column]):
            return None
        return round(float(self._heatmap[row, column]), 3)


@contextmanager
def opened(run: Path, slide: Path | None = None) -> Iterator[OpenedRun]:
    """Open a run with its slide, which is looked for where `find_slide` does unless it is given.

    Raises DataError where `run` is no folder of a run, SlideError where the slide is not found or not that of the run.
    """
    given = read_summary(run)["parameters"]
    where = slide or find_slide(run)
    with Slide(where, given["mpp"], icc=given.get("icc", "ignore")) as one:
        check_slide(run, one)
        yield OpenedRun(run, one)
