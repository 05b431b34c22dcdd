"""What segmenting slides would take, from a look at each of them: nothing is computed for good, nothing written."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsi_idc.errors import WsiIdcError
from wsi_idc.inference.choose import choose_engine, measure
from wsi_idc.models.package import ModelPackage
from wsi_idc.runs.batch import shared_out, slide_names
from wsi_idc.runs.executors.executor import Limits, Listener
from wsi_idc.runs.executors.processes import Processes
from wsi_idc.runs.keeper import as_slide_error
from wsi_idc.runs.manifest import Manifest
from wsi_idc.runs.run import Plan, Runner
from wsi_idc.runs.settings import Settings
from wsi_idc.slides.slide import READ_SIDE


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be done, by slide, and what it would take.

    `seconds` is the time of all slides that are to be computed: of looking at them, which was measured, and of their
    patches at `patches_per_s`, which `engine` was just measured to compute on this machine (0 where nothing is to be
    done, as the others). What reading them in full and writing the results takes beside that is not in it.
    `memory_bytes` is the least for one process: the most that looking at a slide or loading the engine took, and for
    each thread a chunk of pixels and a tile of the slide.
    """

    slides: dict[Path, Plan | WsiIdcError]
    engine: str
    patches_per_s: float
    seconds: float
    memory_bytes: int


def forecast(
    slides: Sequence[Path],
    output: Path,
    package: ModelPackage,
    settings: Settings,
    limits: Limits,
    on_done: Callable[[Path, Plan | WsiIdcError], None] | None = None,
) -> Forecast:
    """Look at each slide, in processes of their own as `batch.segment_slides` does, and forecast what it would take.

    A slide that cannot be opened, or whose folder under `output` holds something else, has its error in `slides`.
    Raises ModelError for a model that cannot be run.
    """
    names = slide_names(slides, Manifest(output / "manifest.csv"))
    looker = _Looker(list(names), on_done)
    job = _Looking(Runner(package, settings := shared_out(settings, limits.processes)))
    Processes(limits).run([(slide, output / name) for slide, name in names.items()], job, looker)
    found = {slide: looker.plans[slide] for slide in names}
    patches = [plan.patches for plan in found.values() if isinstance(plan, Plan) and not plan.done]
    engine = choose_engine(settings.engine, package, 0)
    if not patches:
        return Forecast(found, engine, 0.0, 0.0, 0)
    # A second or so: while other programs run too, a shorter look may meet a gap that they leave.
    speed = measure(package, engine, patches=1024)
    seconds = looker.seconds / min(limits.processes, len(slides)) + speed["start_s"]
    seconds += settings.views * sum(patches) / speed["patches_per_s"]
    buffers = 3 * (settings.chunk * package.patch_size) ** 2 + 4 * READ_SIDE**2
    memory = max([peak_bytes(), *looker.peaks]) + settings.n_threads * buffers
    return Forecast(found, engine, speed["patches_per_s"], seconds, memory)


@dataclass(slots=True)
class _Looking:
    """The job of a process: the plan of a slide, the seconds that it took, and the peak memory of the process."""

    runner: Runner

    def __call__(self, number: int, task: tuple[Path, Path], listener: Listener) -> tuple[Plan, float, int]:
        begun = time.perf_counter()
        plan = self.runner.plan(*task)
        return plan, time.perf_counter() - begun, peak_bytes()


@dataclass(slots=True)
class _Looker(Listener):
    """Collects what processes saw."""

    slides: list[Path]
    on_done: Callable[[Path, Plan | WsiIdcError], None] | None
    plans: dict[Path, Plan | WsiIdcError] = field(default_factory=dict)
    seconds: float = 0.0
    peaks: list[int] = field(default_factory=list)

    def ended(self, number: int, outcome: Any) -> None:
        slide = self.slides[number]
        if isinstance(outcome, Exception):
            self.plans[slide] = as_slide_error(slide, outcome)
        else:
            self.plans[slide], seconds, peak = outcome
            self.peaks.append(peak)
            if not outcome[0].done:
                self.seconds += seconds
        if self.on_done:
            self.on_done(slide, self.plans[slide])


def peak_bytes() -> int:
    """Return the most memory that this process has taken so far, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
