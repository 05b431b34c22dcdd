"""Many slides: run each for itself, and keep a manifest of what became of them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.system import CPU_COUNT

from wsi_idc.base.files import is_held
from wsi_idc.base.progress import Progress
from wsi_idc.base.setting import takes_settings
from wsi_idc.errors import LostError, ModelError, SlideError, WsiIdcError
from wsi_idc.models.package import ModelPackage
from wsi_idc.models.registry import find_model
from wsi_idc.runs.manifest import NUMBERS, Manifest
from wsi_idc.runs.processes import Limits, run_here, run_tasks
from wsi_idc.runs.settings import SegmentResult, Settings
from wsi_idc.slides.find import output_names

if TYPE_CHECKING:
    from distributed import Client

    from wsi_idc.runs.run import Runner

_log = logging.getLogger(__name__)

Outcome = SegmentResult | WsiIdcError
# Called before each slide with its place (from 1), the number of slides and its path; gives a `Runner.run` on_plan.
OnSlide = Callable[[int, int, Path], Callable[[int], Progress | None] | None]


def segment_slides(
    slides: Sequence[Path],
    output: Path,
    package: ModelPackage,
    settings: Settings,
    on_slide: OnSlide | None = None,
    on_done: Callable[[Path, Outcome], None] | None = None,
    limits: Limits | None = None,
    client: Client | None = None,
) -> dict[Path, Outcome]:
    """Segment slides into `output/<name>`, and keep `output/manifest.csv` up to date as each is begun and ends.

    Several slides, or one with a limit of time, are computed in `limits.workers` other processes, so that a slide that
    crashes, hangs or takes all memory costs no other; a script that calls this has to guard its main part by
    `if __name__ == "__main__":`. One slide is computed in this process. With a `client` of a Dask cluster, several
    slides are computed by its workers, and so are the chunks of a single one.

    A slide that fails is recorded with its reason and the next one is begun; only a ModelError, which all slides would
    share, is raised, and a SettingsError, before anything is begun. Returns what became of each slide.
    """
    limits = limits or Limits()
    settings.resolved(package)
    manifest = Manifest(output / "manifest.csv")
    names = slide_names(slides, manifest)
    keeper = _Keeper(manifest, names, on_slide, on_done)
    try:
        keeper.announce(output)
        tasks = [(slide, output / name) for slide, name in names.items()]
        job = _Segmenting(package, settings if client else shared_out(settings, limits))
        if client:
            from wsi_idc.runs.cluster import run_in_cluster

            if len(tasks) == 1:
                run_here(tasks, _Segmenting(package, settings, client), keeper)
            else:
                run_in_cluster(client, [(s.absolute(), o.absolute()) for s, o in tasks], job, keeper)
        elif len(tasks) == 1 and limits.minutes is None:
            run_here(tasks, job, keeper)
        else:
            run_tasks(tasks, job, limits, keeper)
    finally:
        manifest.settle()
    return {slide: keeper.outcomes[slide] for slide in names}


def slide_names(slides: Sequence[Path], manifest: Manifest) -> dict[Path, str]:
    """Return the name of the output folder of each slide: what the manifest says, else a new one."""
    held = {slide: str(row["output"]) for slide, row in manifest.read().items()}
    return dict(zip(slides, output_names(slides, held), strict=True))


def shared_out(settings: Settings, limits: Limits) -> Settings:
    """Divide the cores among processes: threads that read, and as many that compute, for each of them."""
    if limits.workers == 1 or settings.threads is not None:
        return settings
    return replace(settings, threads=max(2, CPU_COUNT // limits.workers))


@dataclass(slots=True)
class _Segmenting:
    """The job of a process: one slide after another, with the engines that were loaded for the first."""

    package: ModelPackage
    settings: Settings
    client: Client | None = None
    _runner: Runner | None = None

    def __call__(self, task: tuple[Path, Path], report: Callable[[Any], None]) -> SegmentResult:
        def on_plan(patches: int) -> Progress:
            report(("plan", patches))
            return lambda done: report(("done", done))

        if self._runner is None:
            # Here, since a process that has others do the work need not load what does it.
            from wsi_idc.runs.run import Runner

            self._runner = Runner(self.package, self.settings, self.client)
        return self._runner.run(*task, on_plan)


@dataclass(slots=True)
class _Keeper:
    """Keeps the manifest and the caller informed: a `workers.Watcher`."""

    manifest: Manifest
    names: dict[Path, str]
    on_slide: OnSlide | None
    on_done: Callable[[Path, Outcome], None] | None
    outcomes: dict[Path, Outcome] = field(default_factory=dict)
    _slides: list[Path] = field(init=False)
    _begun: dict[int, float] = field(default_factory=dict)
    _on_plan: dict[int, Callable[[int], Progress | None] | None] = field(default_factory=dict)
    _advance: dict[int, Progress | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._slides = list(self.names)

    def announce(self, output: Path) -> None:
        """Say of all slides that they are to be done, but for those that are done, or that another process does."""
        self.manifest.add(self._row(number, "pending") for number in range(len(self._slides)))
        held = self.manifest.read()
        again = []
        for number, slide in enumerate(self._slides):
            state = held[os.path.realpath(slide)]["state"]
            if state in ("failed", "incomplete") or (state == "running" and not is_held(output / self.names[slide])):
                again.append(self._row(number, "pending"))
        self.manifest.update(*again)

    def started(self, number: int) -> None:
        slide = self._slides[number]
        self._begun[number] = time.perf_counter()
        self.manifest.update(self._row(number, "running"))
        self._on_plan[number] = self.on_slide(number + 1, len(self._slides), slide) if self.on_slide else None
        self._advance[number] = None

    def reported(self, number: int, message: tuple[str, int]) -> None:
        kind, patches = message
        if kind == "plan" and (on_plan := self._on_plan[number]):
            self._advance[number] = on_plan(patches)
        elif kind == "done" and (advance := self._advance[number]):
            advance(patches)

    def delayed(self, number: int, reason: str) -> None:
        _log.debug("%s: %s", self._slides[number], reason)
        self.manifest.update(self._row(number, "pending") | {"reason": f"{reason}; will be tried again"})

    def ended(self, number: int, outcome: Any) -> None:
        if isinstance(outcome, ModelError):
            # Every other slide would fail alike.
            raise outcome
        slide, seconds = self._slides[number], time.perf_counter() - self._begun[number]
        if isinstance(outcome, Exception):
            self.outcomes[slide] = failure = as_slide_error(slide, outcome)
            row = self._row(number, "failed") | {"reason": str(failure)}
            _log.debug("%s failed", slide, exc_info=outcome)
        else:
            self.outcomes[slide] = outcome
            summary = outcome.summary
            row = self._row(number, summary["state"]) | {key: summary[key] for key in NUMBERS}
            row |= {"reason": summary["message"], "failed_chunks": len(summary["failed_chunks"])}
            row["warnings"] = "; ".join(summary["warnings"])
            if outcome.reused:
                # What computing it took, not finding it: forecasts go by it.
                seconds = sum(s for stage, s in summary["timings"].items() if not stage.endswith("_threads_s"))
        self.manifest.update(row | {"seconds": f"{seconds:.2f}"})
        if self.on_done:
            self.on_done(slide, self.outcomes[slide])

    def _row(self, number: int, state: str) -> dict[str, object]:
        slide = self._slides[number]
        return {"slide": os.path.realpath(slide), "state": state, "output": self.names[slide]}


def as_slide_error(slide: Path, error: Exception) -> WsiIdcError:
    """Turn whatever a slide brought up into an error that names it."""
    if isinstance(error, LostError):
        return SlideError(f"{slide}: {error}")
    if isinstance(error, WsiIdcError):
        return error
    return SlideError(
        f"{slide}: {type(error).__name__}: {error}; not foreseen, please report it with what --debug shows"
    )


@takes_settings(Settings)
def segment(
    slide: str | Path, output: str | Path = "wsi-idc-output", *, model: str | Path | None = None, **settings: Any
) -> SegmentResult:
    """Segment one slide into `output/<slide>` and return what was written; the Python form of `wsi-idc segment`.

    `model` is the name or folder of a package, the shipped one by default. Raises a `wsi_idc.WsiIdcError`: a
    SettingsError, which is also a ValueError, before anything is computed.

    >>> import wsi_idc
    >>> result = wsi_idc.segment("slide.tif", "one", model="idc-patch")
    >>> result.summary["state"], result.regions.name, result.summary["tissue_mm2"] > 1
    ('done', 'regions.geojson', True)
    """
    wanted = Settings(**settings)
    package = find_model(model) if model else find_model()
    outcome = segment_slides([path := Path(slide)], Path(output), package, wanted)[path]
    if isinstance(outcome, WsiIdcError):
        raise outcome
    return outcome
