"""What the benchmarks of streaming share: figures beside their bars, slides, and commands that are measured."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from make_slide import MPP, default_source, write

from wsi_idc.demo.painter import paint_section
from wsi_idc.models.package import ModelPackage
from wsi_idc.models.registry import find_model
from wsi_idc.slides.write import write_slide

THREADS = 2
# Runs a command and prints its seconds, its peak in kB and its seconds of CPU. A process of its own, for a child's peak
# is at least what the process that starts it holds.
_MEASURED = """import json, resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, capture_output=True)
took, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([took, used.ru_maxrss, used.ru_utime + used.ru_stime]))"""
SEGMENT = [sys.executable, "-m", "wsi_idc", "segment"]


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, the bar that it must not exceed (or, `at_least`, must reach), and the numbers behind it."""

    what: str
    value: float
    bar: float
    behind: str
    at_least: bool = False

    def row(self) -> str:
        """Return the figure as a row of a table."""
        met = self.value >= self.bar if self.at_least else self.value <= self.bar
        bar = f"{'at least' if self.at_least else 'at most'} {self.bar:g}"
        return f"| {self.what} | {self.value:.3g} | {bar} | {'yes' if met else '**no**'} | {self.behind} |"


@dataclass(frozen=True, slots=True)
class Tried:
    """A promise, how it was tried, what was found, and whether it holds."""

    promise: str
    how: str
    figure: str
    holds: bool

    def row(self) -> str:
        """Return it as a row of the table of docs/reliability.md."""
        return f"| {self.promise} | {self.how} | {self.figure}{'' if self.holds else ' **broken**'} |"


@dataclass(slots=True)
class Bench:
    """The temporary folder, the slides in it, and all that was measured, as it goes into the JSON file."""

    folder: Path
    quick: bool
    raw: dict[str, Any] = field(default_factory=dict)
    _outputs: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def repeat(self) -> int:
        """How often what is quick to measure is measured."""
        return 1 if self.quick else 3

    def output(self) -> Path:
        """Return a path that was not used yet."""
        return self.folder / f"out{next(self._outputs)}"

    def slide(self, side: int, pyramid: bool = False) -> Path:
        """Return a slide of `side` pixels at 0.25 um/px, made if it is not there yet."""
        path = self.folder / f"{'pyramid' if pyramid else 'flat'}-{side // 1000}k.svs"
        if not path.exists():
            write(path, side, pyramid, default_source(self.folder), 0)
        return path

    def sections(self, count: int) -> list[Path]:
        """Return small slides, painted sections of 2 x 1.6 mm at 4 um/px."""
        folder = self.folder / f"sections-{count}"
        if not folder.exists():
            folder.mkdir()
            for seed in range(count):
                section = paint_section(2.0, 1.6, 4.0, seed=seed)
                write_slide(folder / f"{seed:03}.tif", section.pixels, section.mpp, downsamples=(1,))
        return sorted(folder.iterdir())

    def segment(self, slide: Path) -> dict[str, Any]:
        """Run the whole command on a slide: seconds, peak in MiB, stages and tissue, also kept in `raw`."""
        output = self.output()
        seconds, peak, cpu = measured([*SEGMENT, slide, "-o", output])
        summary = json.loads((output / slide.stem / "summary.json").read_text())
        found = {
            "seconds": seconds,
            "cpu_s": cpu,
            "peak_mb": peak,
            "tissue_mm2": summary["tissue_mm2"],
            **summary["timings"],
        }
        self.raw.setdefault("commands", {}).setdefault(slide.stem, []).append(found)
        return found


def model_at_40x(bench: Bench, name: str) -> ModelPackage:
    """Return a model that ships, told to see patches of 0.25 um/px."""
    folder = bench.folder / f"{name}-at-40x"
    if not folder.exists():
        shutil.copytree(find_model(name).folder, folder)
        facts = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(facts | {"name": folder.name, "mpp": MPP}))
    return find_model(folder)


def measured(command: Sequence[str | Path]) -> tuple[float, float, float]:
    """Run a command; return its seconds, its peak memory in MiB, and its seconds of CPU."""
    done = subprocess.run([sys.executable, "-c", _MEASURED, *command], check=True, stdout=subprocess.PIPE, text=True)
    seconds, peak, cpu = json.loads(done.stdout)
    return seconds, peak / 1024, cpu


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that some work in this process takes, by the clock and of CPU."""
    started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started[0], time.process_time() - started[1]
