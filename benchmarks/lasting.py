"""Slides segmented and looked at for long, in one process and in one viewer, whose memory and handles are noted.

A round is a folder run in a process of its own, each slide of it again in this process, each run looked at and edited
here, and all of that asked of `wsi-idc view` over HTTP. `benchmarks/soak.py` prints what came of it.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import shapely
from bench import Bench, Tried
from viewer import get, serving

import wsi_idc
from wsi_idc import Settings, find_model
from wsi_idc.runs.batch import segment_slides
from wsi_idc.runs.folder_page import key_of
from wsi_idc.runs.manifest import Manifest
from wsi_idc.runs.memory import be_lean
from wsi_idc.viewer import edits
from wsi_idc.viewer.desk import NAME, Desk
from wsi_idc.viewer.edits import History
from wsi_idc.viewer.shelf import opened

# Slides in the folder: more than the viewer keeps open.
SLIDES = 6
# The share of the time that is warm-up, and again at either end of what is compared.
_PART = 1 / 6
_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
# How much memory may grow after warm-up.
_BAR = 0.05


@dataclass(slots=True)
class Watched:
    """A process, and at the end of each round the seconds so far, its memory in MiB, its handles and its threads."""

    process: int
    samples: list[tuple[float, float, int, int]] = field(default_factory=list)

    def look(self, seconds: float) -> None:
        """Note what it holds now."""
        proc = Path("/proc") / str(self.process)
        resident = int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
        counts = (len(list((proc / name).iterdir())) for name in ("fd", "task"))
        self.samples.append((round(seconds, 1), round(resident, 1), *counts))

    def tried(self, promise: str, how: str) -> Tried:
        """Compare the part behind the warm-up with the last one."""
        end = self.samples[-1][0]
        warm = [s for s in self.samples if s[0] > _PART * end]
        first = statistics.median(s[1] for s in warm if s[0] <= 2 * _PART * end)
        last = statistics.median(s[1] for s in warm if s[0] > (1 - _PART) * end)
        handles, threads = ({s[place] for s in warm} for place in (2, 3))
        growth = last / first - 1
        figure = (
            f"{len(self.samples)} rounds in {end / 60:.0f} min: {first:.0f} MiB after warm-up, {last:.0f} at the end "
            f"({100 * growth:+.1f} %); handles {_span(handles)}, threads {_span(threads)}"
        )
        return Tried(promise, how, figure, growth < _BAR and len(handles) == 1)


def _span(values: set[int]) -> str:
    return str(*values) if len(values) == 1 else f"{min(values)} to {max(values)}"


def lasting(bench: Bench, minutes: float) -> list[Tried]:
    """Repeat rounds for some minutes; samples go to `bench.raw`, and to `lasting.jsonl` in the folder as they come."""
    be_lean()
    slides, served, log = bench.sections(SLIDES), bench.output(), bench.folder / "lasting.jsonl"
    segment_slides(slides, served, find_model(), Settings())
    keys = [key_of(row) for row in Manifest(served / "manifest.csv").read().values()]
    begun = time.monotonic()
    with serving(served) as (address, server):
        here, there = Watched(os.getpid()), Watched(server)
        while time.monotonic() - begun < 60 * minutes or len(here.samples) < 1 / _PART:
            _segment(slides, bench.output())
            for slide in slides:
                _look(served / slide.stem)
            for key in keys:
                _ask(address, key)
            # What was asked last is put away.
            time.sleep(0.5)
            for watched in (here, there):
                watched.look(time.monotonic() - begun)
            with log.open("a") as stream:
                stream.write(json.dumps([here.samples[-1], there.samples[-1]]) + "\n")
    bench.raw["lasting"] = {"here": here.samples, "viewer": there.samples}
    promise = "Memory and handles stay as they are, however long it runs"
    runs = f"{SLIDES} painted slides as a folder and one by one, and looked at and edited, over and over in one process"
    asked = "list, pages, tiles, heat, regions, previews and files of these over HTTP from one `wsi-idc view`"
    return [here.tried(promise, runs), there.tried("The same of the viewer", asked)]


def _segment(slides: list[Path], output: Path) -> None:
    """Segment a folder in a process of its own, then each slide in this one."""
    outcomes = segment_slides(slides, output / "folder", find_model(), Settings())
    done = [getattr(o, "summary", {"state": str(o)})["state"] for o in outcomes.values()]
    done += [wsi_idc.segment(slide, output / "alone").summary["state"] for slide in slides]
    if set(done) != {"done"}:
        raise RuntimeError(f"not all is done: {done}")
    shutil.rmtree(output)


def _look(run: Path) -> None:
    """Do what a viewer does with a run: tiles, heat, regions; and an edit, saved, and removed again."""
    desk = Desk()
    with opened(run) as found:
        for level in range(found.levels + 1):
            found.tile(level, 0, 0)
        found.heat()
        for threshold in _THRESHOLDS:
            found.preview(threshold, (0, 0, *found.size))
            found.regions(threshold)
        found.probability(*(side / 2 for side in found.size))
    session = desk.begin(run, "soak")
    if outlines := session.history.now.outlines:
        x, y = shapely.get_coordinates(shapely.point_on_surface(outlines[0].geometry))[0]
        corners = [(x - 9, y - 9), (x + 9, y - 9), (x + 9, y + 9), (x - 9, y + 9)]
        session.do("soak", lambda held: edits.cut(held, [], corners, found.slide.size))
        session.move("soak", History.undo)
        session.move("soak", History.redo)
        session.save("soak", "soak")
    desk.close()
    (run / NAME).unlink(missing_ok=True)


def _ask(address: str, key: str) -> None:
    """Ask a viewer for all that it answers of a run."""
    get(f"{address}/")
    get(f"{address}/of/{key}/view")
    place = urlencode({"left": 0, "top": 0, "right": 500, "bottom": 400})
    for name in ("tile/0/0/0", "heat", "summary.json", "report.html", "probability?x=200&y=200"):
        get(f"{address}/of/{key}/{name}")
    for threshold in _THRESHOLDS:
        get(f"{address}/of/{key}/preview?threshold={threshold}&{place}")
        get(f"{address}/of/{key}/regions?threshold={threshold}")
