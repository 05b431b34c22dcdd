"""One slide from its file to its results, in a folder of its own; its four steps are in `steps`."""

from __future__ import annotations

import json
import time
from dataclasses import InitVar, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_idc.heatmap.stream import RunChunks, in_threads
from wsi_idc.inference.loaded import Engines
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import ModelPackage
from wsi_idc.runs.executors.executor import Listener
from wsi_idc.runs.results.folder import holding, previous_run, remove_unfinished, unfinished, writing_to
from wsi_idc.runs.results.identity import identify
from wsi_idc.runs.settings import SegmentResult, Settings
from wsi_idc.runs.steps import compute, compute_nothing, find, give_back_of, look, outline, write
from wsi_idc.runs.work import Work
from wsi_idc.slides.slide import Slide, check_scale

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of a slide takes: patches to compute, tissue in mm2; `done` says that its results are there."""

    patches: int
    tissue_mm2: float
    done: bool


@dataclass(slots=True)
class Runner:
    """A model package and the `engines` made for it so far, to be used for one slide after another.

    With a `client` of a Dask cluster, chunks are encoded there. Engines that were begun elsewhere can be given.
    """

    package: ModelPackage
    settings: Settings
    client: Client | None = None
    begun: InitVar[Engines | None] = None
    engines: Engines = field(init=False)

    def __post_init__(self, begun: Engines | None) -> None:
        """Raise SettingsError where the settings do not fit the model."""
        self.settings.resolved(self.package)
        self.engines = Engines(self.package, self.settings.n_threads) if begun is None else begun

    def predictor(self, n_patches: int) -> Predictor:
        """Return a predictor on the engine that the settings ask for, loaded when first used."""
        return Predictor(self.package, self.engines.chosen(self.settings.engine, n_patches))

    def _open(self, path: Path) -> Slide:
        given = self.settings
        return Slide(path, given.mpp, icc=given.icc, mpp_missing=given.mpp_missing)

    def plan(self, path: Path, folder: Path) -> Plan:
        """Say what `run` would do with the slide at `path`, and raise what it would raise so far; writes nothing."""
        with self._open(path) as slide:
            check_scale(slide, self.package)
            identity = identify(slide, self.package, self.settings)
            if folder.is_dir() and (held := previous_run(folder, identity, self.settings.overwrite)) is not None:
                return Plan(held["patches"], held["tissue_mm2"], done=True)
            tissue, patches = look(slide, self.package, self.settings)
            return Plan(sum(int(wanted.sum()) for _, wanted in patches), tissue.tissue_mm2, done=False)

    def run(self, path: Path, folder: Path, listener: Listener | None = None, number: int = 0) -> SegmentResult:
        """Segment the slide at `path` into `folder`; `listener` is told of its patches, as of task `number`.

        A folder that holds this very run is reused. Raises SlideError for the slide, OutputError for the folder.
        """
        times = {"start": time.perf_counter()}
        with self._open(path) as slide:
            check_scale(slide, self.package)
            identity = identify(slide, self.package, self.settings)
            with holding(folder, self.settings.overwrite):
                if (summary := previous_run(folder, identity, self.settings.overwrite)) is not None:
                    remove_unfinished(folder)
                    return SegmentResult(folder, summary, reused=True)
                times["open"] = time.perf_counter()
                # What is not finished is gone on with by the very same version only.
                with (
                    unfinished(folder, identity | {"wsi_idc": version("wsi-idc")}) as kept,
                    writing_to(folder) as place,
                ):
                    work = Work(slide, self.package, self.settings.resolved(self.package), identity, kept, times)
                    summary = self._segment(work, place, listener or Listener(), number)
        return SegmentResult(folder, summary)

    def _segment(self, work: Work, out: Path, listener: Listener, number: int) -> dict[str, Any]:
        """Take a slide through its four steps, into the folder `out`; return its summary."""
        find(work)
        listener.planned(number, work.n_patches)
        give_back_of(work)
        if work.n_patches:
            predictor = self.predictor(work.n_patches * self.settings.views)
            encoding = self._encoding(work, predictor.engine.name)
            compute(work, predictor, encoding, partial(listener.advanced, number))
        else:
            compute_nothing(work)
        give_back_of(work)
        outline(work)
        summary = write(work, out)
        # Before anything of it is put in place: else half of what was computed may be of another slide.
        work.slide.check_unchanged()
        work.package.check_unchanged(work.engine)
        return summary

    def _encoding(self, work: Work, engine: str) -> RunChunks:
        """Return what encodes chunks: threads of this process, or the workers of a cluster."""
        if self.client is None:
            return in_threads(self.settings.n_threads)
        from wsi_idc.runs.executors.cluster import Elsewhere, in_cluster

        there = Elsewhere(
            identity=json.dumps(work.identity, sort_keys=True),
            slide=work.slide.path.absolute(),
            mpp=work.slide.given_mpp,
            icc=self.settings.icc,
            model=self.package.folder.absolute(),
            engine=engine,
            kept=work.unfinished.absolute(),
            chunk=self.settings.chunk,
            views=self.settings.views,
        )
        return in_cluster(self.client, there)
