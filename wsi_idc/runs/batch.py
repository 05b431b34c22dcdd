"""Many slides: run each for itself, and keep a manifest of what became of them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_idc.base.files import is_held
from wsi_idc.base.setting import takes_settings
from wsi_idc.errors import HeldError, LostError, ModelError, OutputError, SlideError, WsiIdcError
from wsi_idc.models.package import ModelPackage
from wsi_idc.models.registry import find_model
from wsi_idc.runs.executors.executor import Executor, Here, Limits, Listener
from wsi_idc.runs.executors.processes import Processes
from wsi_idc.runs.folder_page import FolderPage
from wsi_idc.runs.log import Logged
from wsi_idc.runs.manifest import Manifest, numbers_of, took_s
from wsi_idc.runs.overwriting import Overwriting
from wsi_idc.runs.settings import SegmentResult, Settings
from wsi_idc.slides.paths.find import output_names

if TYPE_CHECKING:
    from distributed import Client

    from wsi_idc.runs.run import Runner

_log = logging.getLogger(__name__)

Outcome = SegmentResult | WsiIdcError


def segment_slides(
    slides: Sequence[Path],
    output: Path,
    package: ModelPackage,
    settings: Settings,
    listener: Listener | None = None,
    limits: Limits | None = None,
    client: Client | None = None,
) -> dict[Path, Outcome]:
    """Segment slides into `output/<name>`, and keep `output/manifest.csv` up to date as each is begun and ends.

    Of several slides `output/index.html` shows them all; it is written now and then, and at the end. What happens when
    is appended to `output/log.jsonl`.

    Several slides, or one with a limit of time, are computed in `limits.processes` other processes: a slide that
    crashes, hangs or takes all memory costs no other; a script that calls this has to guard its main part by
    `if __name__ == "__main__":`. One slide is computed in this process. With a `client` of a Dask cluster, several
    slides are computed by its workers, within the same limits, and so are the chunks of a single one.

    A slide that fails is recorded with its reason and the next one is begun; only a ModelError, which all slides would
    share, is raised, and a SettingsError, before anything is begun. A slide that another process is computing is left
    to it. With `settings.overwrite`, what a run of the same settings had overwritten when it was interrupted is kept.
    The `listener` is told of slides by their place in `slides`, from 0; what it is told of as ended is an `Outcome`.
    Returns what became of each slide.
    """
    limits = limits or Limits()
    settings.resolved(package)
    manifest = Manifest(output / "manifest.csv")
    names = slide_names(slides, manifest)
    real = [os.path.realpath(slide) for slide in names]
    overwriting = Overwriting(output, package, settings)
    begun = overwriting.begun() if settings.overwrite else set()
    rows = manifest.read()
    kept = [slide in begun and rows.get(slide, {}).get("state") == "done" for slide in real]
    # A slide alone is no folder, and one after another each would write the page of all before it.
    logged = Logged(output, list(names), listener)
    keeper = _Keeper(manifest, names, logged, FolderPage(output, manifest) if len(names) > 1 else None)
    try:
        keeper.announce(output, again=settings.overwrite, kept=kept)
        if settings.overwrite:
            overwriting.begin(real)
        tasks = [(slide, output / name, keep) for (slide, name), keep in zip(names.items(), kept, strict=True)]
        _compute(tasks, _Segmenting(package, settings), limits, client, keeper)
        overwriting.end(real)
    finally:
        manifest.settle()
        if keeper.page:
            keeper.page.write()
        logged.finish()
    return {slide: keeper.outcomes[slide] for slide in names}


def _compute(tasks: list[_Task], job: _Segmenting, limits: Limits, client: Client | None, keeper: Listener) -> None:
    """Do the tasks in the way that suits them."""
    # Reads Dask's configuration: what is wrong there is raised once, not by every slide.
    import dask  # noqa: F401

    alone = len(tasks) == 1
    executor: Executor = Processes(limits)
    if client and not alone:
        from wsi_idc.runs.executors.cluster_tasks import Cluster

        executor = Cluster(client, limits)
        tasks = [(slide.absolute(), folder.absolute(), kept) for slide, folder, kept in tasks]
    elif client and limits.minutes is not None:
        # The process that can be ended connects for itself.
        job = replace(job, scheduler=(client.scheduler.address, client.security))
    elif alone and limits.minutes is None:
        job, executor = replace(job, client=client), Here()
    executor.run(tasks, job, keeper)


def slide_names(slides: Sequence[Path], manifest: Manifest) -> dict[Path, str]:
    """Return the name of the output folder of each slide: what the manifest says, else a new one."""
    held = {slide: str(row["output"]) for slide, row in manifest.read().items()}
    return dict(zip(slides, output_names(slides, held), strict=True))


def shared_out(settings: Settings, processes: int) -> Settings:
    """Divide the cores of this machine among processes: threads that read, and as many that compute, for each."""
    if processes == 1 or settings.threads is not None:
        return settings
    # Counts the cores that a container may use; loaded where something is computed.
    from dask.system import CPU_COUNT

    return replace(settings, threads=max(2, CPU_COUNT // processes))


# A slide, the folder of its results, and whether these are kept where they are what the run would leave.
_Task = tuple[Path, Path, bool]


@dataclass(slots=True)
class _Segmenting:
    """The job of a process: one slide after another, with the engines that were loaded for the first.

    Chunks are computed on a cluster with its `client`, or with the address and the security of its `scheduler`.
    """

    package: ModelPackage
    settings: Settings
    client: Client | None = None
    scheduler: tuple[str, Any] | None = None
    _runner: Runner | None = None

    def shared_by(self, processes: int) -> _Segmenting:
        """See `executor.SharesCores`."""
        return replace(self, settings=shared_out(self.settings, processes))

    def __call__(self, number: int, task: _Task, listener: Listener) -> SegmentResult:
        # Here, since a process that has others do the work need not load what does it.
        from wsi_idc.runs.run import Runner

        slide, folder, kept = task
        if self._runner is None:
            if self.scheduler:
                from distributed import Client

                self.client = Client(self.scheduler[0], security=self.scheduler[1], set_as_default=False)
            self._runner = Runner(self.package, self.settings, self.client)
        if kept:
            keeping = replace(self._runner, settings=replace(self.settings, overwrite=False))
            try:
                return keeping.run(slide, folder, listener, number)
            except HeldError:
                raise
            except OutputError as error:
                _log.debug("%s: overwritten after all (%s)", slide, error)
        return self._runner.run(slide, folder, listener, number)


@dataclass(slots=True)
class _Keeper(Listener):
    """Keeps the manifest, and tells the caller's listener."""

    manifest: Manifest
    names: dict[Path, str]
    listener: Listener
    page: FolderPage | None = None
    outcomes: dict[Path, Outcome] = field(default_factory=dict)
    _slides: list[Path] = field(init=False)
    _begun: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._slides = list(self.names)

    def announce(self, output: Path, *, again: bool, kept: Sequence[bool]) -> None:
        """Say of all slides that they are to be done, but for those that are done, or that another process does.

        Where they are done `again`, only those that are `kept` are done.
        """
        self.manifest.add(self._row(number, "pending") for number in range(len(self._slides)))
        held = self.manifest.read()
        undone = []
        for number, slide in enumerate(self._slides):
            state = held[os.path.realpath(slide)]["state"]
            to_do = state in ("failed", "incomplete") or (state == "done" and again and not kept[number])
            if to_do or (state == "running" and not is_held(output / self.names[slide])):
                undone.append(self._row(number, "pending"))
        self.manifest.update(*undone)

    def started(self, number: int) -> None:
        self._begun[number] = time.perf_counter()
        self.manifest.update(self._row(number, "running"))
        self.listener.started(number)

    def planned(self, number: int, patches: int) -> None:
        self.listener.planned(number, patches)

    def advanced(self, number: int, patches: int) -> None:
        self.listener.advanced(number, patches)

    def delayed(self, number: int, reason: str) -> None:
        _log.debug("%s: %s", self._slides[number], reason)
        self.manifest.update(self._row(number, "pending") | {"reason": f"{reason}; will be tried again"})
        self.listener.delayed(number, reason)

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
            row = self._row(number, outcome.summary["state"]) | numbers_of(outcome.summary)
            if outcome.reused:
                # What computing it took, not finding it: forecasts go by it.
                seconds = took_s(outcome.summary)
        # The row of a slide that another process has is written by that one.
        if not isinstance(outcome, HeldError):
            self.manifest.update(row | {"seconds": f"{seconds:.2f}"})
            if self.page:
                self.page.now_and_then()
        self.listener.ended(number, self.outcomes[slide])

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
