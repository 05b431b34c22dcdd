"""Many slides: run each for itself, and keep a manifest of what became of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_idc.base.setting import takes_settings
from wsi_idc.errors import DataError, DiskError, HeldError, OutputError, WsiIdcError
from wsi_idc.models.package import ModelPackage
from wsi_idc.models.registry import find_model
from wsi_idc.runs.executors.executor import Executor, Here, Limits, Listener
from wsi_idc.runs.executors.processes import Processes
from wsi_idc.runs.folder_page import FolderPage
from wsi_idc.runs.keeper import Keeper, Outcome
from wsi_idc.runs.log import Logged
from wsi_idc.runs.manifest import Manifest
from wsi_idc.runs.overwriting import Overwriting
from wsi_idc.runs.settings import SegmentResult, Settings
from wsi_idc.slides.paths.find import known_as, output_names

if TYPE_CHECKING:
    from distributed import Client

    from wsi_idc.runs.run import Runner

_log = logging.getLogger(__name__)


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
    is appended to `output/log.jsonl`. Returns what became of each slide.

    Several slides, or one with a limit of time, are computed in `limits.processes` other processes: a slide that
    crashes, hangs or takes all memory costs no other; a script that calls this guards its main part by
    `if __name__ == "__main__":`. One is computed in this process. With a `client` of a Dask cluster its workers compute
    several slides, within the same limits, or the chunks of a single one.

    A slide that fails is recorded with its reason and the next one is begun; only a ModelError, which all slides would
    share, is raised, a DiskError once the output is full or fails, and before anything is begun a SettingsError, or a
    DataError for a slide that is given twice. One that another process is computing is left to it, and looked at again
    at the end: a HeldError, if it still is. With `settings.overwrite`, what an interrupted run of these settings had
    overwritten is kept. The `listener` is told of slides by their place, from 0, and of each that ended its `Outcome`.
    """
    limits = limits or Limits()
    settings.resolved(package)
    manifest = Manifest(output / "manifest.csv")
    names = slide_names(slides, manifest)
    known = {slide: known_as(slide) for slide in names}
    real = list(map(os.path.realpath, known.values()))
    overwriting = Overwriting(output, package, settings)
    kept = _kept(real, overwriting.begun() if settings.overwrite else set(), manifest)
    # A slide alone is no folder, and one after another each would write the page of all before it.
    page, logged = FolderPage(output, manifest) if len(names) > 1 else None, Logged(output, list(names), listener)
    keeper = Keeper(manifest, output, dict(zip(known.values(), names.values(), strict=True)), logged, page)
    tasks = [(slide, output / name, keep) for (slide, name), keep in zip(names.items(), kept, strict=True)]
    try:
        keeper.announce(again=settings.overwrite, kept=kept)
        if settings.overwrite:
            overwriting.begin(real)
        _compute(tasks, _Segmenting(package, settings), limits, client, keeper)
        overwriting.end(real)
    except DiskError as error:
        logged.stopped(str(stopped := keeper.stopped(error)))
        raise stopped from error
    finally:
        keeper.close()
        logged.finish()
    return {slide: keeper.outcomes[known[slide]] for slide in names}


def _kept(slides: Sequence[str], begun: set[str], manifest: Manifest) -> list[bool]:
    """Say which slides, by real path, a run that had begun to overwrite them ended before it was interrupted."""
    rows = manifest.read()
    return [slide in begun and rows.get(slide, {}).get("state") == "done" for slide in slides]


def _compute(tasks: list[_Task], job: _Segmenting, limits: Limits, client: Client | None, keeper: Keeper) -> None:
    """Do the tasks in the way that suits them, and at the end once more those that another process had."""
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
    if left := keeper.left_to_others():
        executor.run([tasks[number] for number in left], job, keeper.of(left))


def slide_names(slides: Sequence[Path], manifest: Manifest) -> dict[Path, str]:
    """Return the name of the output folder of each slide: what the manifest says, else a new one.

    Raises DataError where two of `slides` are the same one: both would be written into one folder.
    """
    seen: dict[str, Path] = {}
    for slide in slides:
        first = seen.setdefault(os.path.realpath(known_as(slide)), slide)
        if first != slide:
            raise DataError(f"{first}: is named again, as {slide}; keep one of the two")
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
        from wsi_idc.inference.loaded import Engines

        slide, folder, kept = task
        if self._runner is None:
            engines = Engines(self.package, self.settings.n_threads)
            # While this thread loads what reads and writes slides.
            engines.begin(self.settings.engine)
            from wsi_idc.runs.run import Runner

            if self.scheduler:
                from distributed import Client

                self.client = Client(self.scheduler[0], security=self.scheduler[1], set_as_default=False)
            self._runner = Runner(self.package, self.settings, self.client, engines)
        if kept:
            settings = replace(self.settings, overwrite=False)
            keeping = replace(self._runner, settings=settings, begun=self._runner.engines)
            try:
                return keeping.run(slide, folder, listener, number)
            except HeldError:
                raise
            except OutputError as error:
                _log.debug("%s: overwritten after all (%s)", slide, error)
        return self._runner.run(slide, folder, listener, number)


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
