"""A slide that is being computed: what of it is encoded, and what has a probability already."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsi_idc.base.files import is_held
from wsi_idc.base.inputs.documents import read_json
from wsi_idc.base.pages.colours import TISSUE
from wsi_idc.errors import DataError
from wsi_idc.heatmap.store import read_heatmap
from wsi_idc.heatmap.stored import grid_of
from wsi_idc.runs.results.folder import OUTPUTS, UNFINISHED
from wsi_idc.runs.steps import PLAN
from wsi_idc.slides.scale import PLAUSIBLE_MPP
from wsi_idc.slides.slide import Slide
from wsi_idc.viewer.tiles import OpenedSlide, heat_image

# How much of what is encoded and has no probability yet is covered.
_VEIL = 70
# Bytes of a plan, and patches of a grid: a hundred times as many as a large slide has.
_LARGEST, _MOST_PATCHES = 1 << 20, 1 << 25
_PAIR = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_PLAN = {
    "type": "object",
    "required": ["slide", "mpp", "grid", "patches", "threshold"],
    "properties": {
        "slide": {"type": "string"},
        "mpp": {"type": ["number", "null"], "minimum": PLAUSIBLE_MPP[0], "maximum": PLAUSIBLE_MPP[1]},
        "grid": {
            "type": "object",
            "required": ["slide_size", "slide_mpp", "patch_size", "mpp"],
            "properties": {"slide_size": _PAIR, "slide_mpp": _PAIR}
            | {"patch_size": {"type": "integer"}, "mpp": {"type": "number"}},
        },
        "patches": {"type": "integer", "minimum": 0},
        "threshold": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    },
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How many chunks are encoded, and how many of the `patches` to be computed have a probability.

    `state` is "running", "left" where no process is at it any more, or "done" where its results are there.
    """

    chunks: int
    probabilities: int
    patches: int
    state: str


def is_live(folder: Path) -> bool:
    """Say whether a run in a folder has begun to compute and is not done."""
    return (folder / UNFINISHED / PLAN).is_file() and not (folder / OUTPUTS[-1]).is_file()


class LiveRun(OpenedSlide):
    """A slide with what a run, which another process is at, has computed of it so far."""

    def __init__(self, folder: Path, slide: Path | None = None) -> None:
        """Open the slide that is being computed into a folder; `slide` is where it is, if not where the run has it.

        Raises DataError where nothing is being computed there, SlideError for the slide.
        """
        try:
            plan = read_json(folder / UNFINISHED / PLAN, _LARGEST, _PLAN)
            self._grid = grid_of(plan)
            if self._grid.shape[0] * self._grid.shape[1] > _MOST_PATCHES:
                raise ValueError("its grid is that of no slide")
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: nothing is being computed there; look again when segment is at it") from error
        path, given = Path(plan["slide"]), plan["mpp"]
        self.threshold, self._patches = float(plan["threshold"]), int(plan["patches"])
        super().__init__(Slide(slide or path, given))
        self.folder, self._lock = folder, threading.Lock()
        self._heatmap = np.full(self._grid.shape, np.nan, np.float32)

    def heat_size(self) -> list[float]:
        """Return how far the heat reaches on the map."""
        rows, cols = self._grid.shape
        return [cols * self._grid.step[0], rows * self._grid.step[1] * self.stretch]

    def progress(self) -> Progress:
        """Look how far it is."""
        if (self.folder / OUTPUTS[-1]).is_file():
            return Progress(0, self._patches, self._patches, "done")
        self._look()
        state = "running" if is_held(self.folder) else "left"
        return Progress(len(self._encoded()), int(np.isfinite(self._heatmap).sum()), self._patches, state)

    def heat(self) -> bytes:
        """Return what is known in colour, a pixel a patch, as PNG: a veil where there is no probability yet."""
        self._look()
        veil = np.zeros(self._grid.shape, bool)
        for row, col, side in self._encoded():
            veil[row * side : (row + 1) * side, col * side : (col + 1) * side] = True
        veil &= ~np.isfinite(self._heatmap)
        return heat_image(self._heatmap, self.threshold, (veil, (*TISSUE, _VEIL)))

    def probability(self, x: float, y: float) -> float | None:
        """Return the probability of the patch at a place of the map; None where there is none yet."""
        return self.value_at(self._heatmap, self._grid.step, x, y)

    def _look(self) -> None:
        """Read what is written by now; what is just being written is read the next time."""
        stores = sorted((self.folder / UNFINISHED).glob("heatmap-*.zarr"), key=_changed)
        for store in stores[-1:]:
            try:
                found = read_heatmap(store)[0]
            except DataError:
                return
            with self._lock:
                if found.shape == self._heatmap.shape:
                    self._heatmap = found

    def _encoded(self) -> list[tuple[int, int, int]]:
        """Return the row, column and side, in patches, of the chunks whose features are there."""
        found = []
        for folder in (self.folder / UNFINISHED).glob("features-*-0-0"):
            side = int(folder.name.split("-")[-3])
            names = (re.fullmatch(r"(\d+)-(\d+)\.f32", file.name) for file in folder.glob("*.f32"))
            found += [(int(name[1]), int(name[2]), side) for name in names if name]
        return found


def _changed(store: Path) -> float:
    try:
        return store.stat().st_mtime
    except OSError:
        return 0.0
