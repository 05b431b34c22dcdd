"""One slide through all stages: slide, tissue, grid, stream, regions, report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_idc.annotations.qupath import to_geojson
from wsi_idc.base.progress import Progress
from wsi_idc.errors import SlideError
from wsi_idc.grid import Grid
from wsi_idc.heatmap.encode import copy_of, open_encoder
from wsi_idc.heatmap.overlap import cells, shifted
from wsi_idc.heatmap.store import HeatmapStore
from wsi_idc.heatmap.stream import RunChunks, StreamReport, in_threads, stream
from wsi_idc.inference.choose import choose_engine, make_engine
from wsi_idc.inference.engines import Engine
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import ModelPackage
from wsi_idc.regions.delineate import delineate, fine_tissue, without_patches
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.runs.folder import holding, previous_run, unfinished, writing_to
from wsi_idc.runs.identity import identify
from wsi_idc.runs.memory import give_back
from wsi_idc.runs.overview import draw_overview
from wsi_idc.runs.report import write_report
from wsi_idc.runs.settings import SegmentResult, Settings
from wsi_idc.runs.summary import summarise, timings
from wsi_idc.slides.slide import Slide, check_scale
from wsi_idc.tissue.glass import SparseSlide, find_glass
from wsi_idc.tissue.tissue import TissueMap, find_tissue

if TYPE_CHECKING:
    from distributed import Client

# Pixels of the mask of a slide that takes so much memory that it is given back between stages; else it costs time only.
_LARGE_MASK = 4_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of a slide takes: patches to compute, tissue in mm2; `done` says that its results are there."""

    patches: int
    tissue_mm2: float
    done: bool


@dataclass(slots=True)
class Runner:
    """A model package and the engines made for it so far, to be used for one slide after another.

    With a `client` of a Dask cluster, chunks are encoded there.
    """

    package: ModelPackage
    settings: Settings
    client: Client | None = None
    _engines: dict[str, Engine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise SettingsError where the settings do not fit the model."""
        self.settings.resolved(self.package)

    def predictor(self, n_patches: int) -> Predictor:
        """Return a predictor on the engine that the settings ask for, loaded when first used."""
        name = choose_engine(self.settings.engine, self.package, n_patches)
        if name not in self._engines:
            self._engines[name] = make_engine(name, self.package, self.settings.n_threads)
        return Predictor(self.package, self._engines[name])

    def plan(self, path: Path, folder: Path) -> Plan:
        """Say what `run` would do with the slide at `path`, and raise what it would raise so far; writes nothing."""
        with Slide(path, self.settings.mpp, icc=self.settings.icc) as slide:
            check_scale(slide, self.package)
            identity = identify(slide, self.package, self.settings)
            if folder.is_dir() and (held := previous_run(folder, identity, self.settings.overwrite)) is not None:
                return Plan(held["patches"], held["tissue_mm2"], done=True)
            tissue = find_tissue(self._sparse(slide) or slide, self.settings.n_threads)
            patches = sum(int(wanted.sum()) for _, wanted in self._lattices(self._grid(slide), tissue))
            return Plan(patches, tissue.tissue_mm2, done=False)

    def run(self, path: Path, folder: Path, on_plan: Callable[[int], Progress | None] | None = None) -> SegmentResult:
        """Segment the slide at `path` into `folder`; `on_plan` gets the number of patches and may return a callback.

        A folder that holds this very run is reused. Raises SlideError for the slide, OutputError for the folder.
        """
        times = {"start": time.perf_counter()}
        with Slide(path, self.settings.mpp, icc=self.settings.icc) as slide:
            check_scale(slide, self.package)
            identity = identify(slide, self.package, self.settings)
            with holding(folder, self.settings.overwrite):
                if (summary := previous_run(folder, identity, self.settings.overwrite)) is not None:
                    return SegmentResult(folder, summary, reused=True)
                times["open"] = time.perf_counter()
                # What is not finished is gone on with by the very same version only.
                with (
                    unfinished(folder, identity | {"wsi_idc": version("wsi-idc")}) as kept,
                    writing_to(folder) as place,
                ):
                    summary = self._compute(slide, place, kept, identity, times, on_plan)
        return SegmentResult(folder, summary)

    def _sparse(self, slide: Slide) -> SparseSlide | None:
        """Return the slide without its empty glass, where that can be told without decoding it."""
        glass = find_glass(slide, self.settings.n_threads)
        return SparseSlide(slide, glass) if glass is not None else None

    def _grid(self, slide: Slide) -> Grid:
        return Grid(slide.size, (slide.mpp.x, slide.mpp.y), self.package.patch_size, self.package.mpp)

    def _lattices(self, grid: Grid, tissue: TissueMap) -> list[tuple[Grid, np.ndarray]]:
        """Return the grids of patches, several where these overlap, each with those to be computed, (rows, cols)."""
        return [(g, self._wanted(g, tissue)) for g in shifted(grid, self.settings.stride_of(self.package))]

    def _wanted(self, grid: Grid, tissue: TissueMap) -> np.ndarray:
        # What could not be seen at low magnification may be tissue: it is tried, and reported where it fails again.
        share = grid.share(tissue.mask, tissue.um)
        return (share >= self.settings.min_tissue) | (grid.share(tissue.unreadable, tissue.um) > 0)

    def _encoding(self, slide: Slide, engine: str, identity: dict[str, Any], kept: Path) -> RunChunks:
        """Return what encodes chunks: threads of this process, or the workers of a cluster."""
        if self.client is None:
            return in_threads(self.settings.n_threads)
        from wsi_idc.runs.cluster import Elsewhere, in_cluster

        there = Elsewhere(
            identity=json.dumps(identity, sort_keys=True),
            slide=slide.path.absolute(),
            mpp=self.settings.mpp,
            icc=self.settings.icc,
            model=self.package.folder.absolute(),
            engine=engine,
            kept=kept.absolute(),
            chunk=self.settings.chunk,
            views=self.settings.views,
        )
        return in_cluster(self.client, there)

    def _compute(
        self,
        slide: Slide,
        out: Path,
        kept: Path,
        identity: dict[str, Any],
        times: dict[str, float],
        on_plan: Callable[[int], Progress | None] | None,
    ) -> dict[str, Any]:
        settings, package = self.settings, self.package
        copy = copy_of(slide, kept, self._sparse(slide))
        tissue = find_tissue(copy, settings.n_threads)
        lattices = self._lattices(self._grid(slide), tissue)
        copy.complete(lattices)
        times["tissue"] = time.perf_counter()
        n_patches = sum(int(wanted.sum()) for _, wanted in lattices)
        progress = on_plan(n_patches) if on_plan else None
        grid = cells(self._grid(slide), settings.stride_of(package))
        # Where patches do not overlap, the squares that get a probability are the patches.
        wanted_cells = lattices[0][1] if grid == lattices[0][0] else self._wanted(grid, tissue)
        where = fine_tissue(tissue.mask, tissue.um, grid)
        large, tissue = tissue.mask.size > _LARGE_MASK, tissue.without_planes()
        if large:
            give_back()
        predictor = self.predictor(n_patches * settings.views) if n_patches else None
        engine = predictor.engine.name if predictor else None
        facts = {"model": package.name, "engine": engine, "patch_um": grid.patch_um, "grid": asdict(grid)}

        def begin(name: str) -> HeatmapStore:
            return HeatmapStore(kept / f"heatmap-{name}.zarr", grid, identity | {"wsi_idc": version("wsi-idc")} | facts)

        if predictor:
            times["engine"] = time.perf_counter()
            layers = [
                (open_encoder(slide, lattice, predictor, kept, settings.chunk, settings.views), wanted)
                for lattice, wanted in lattices
            ]
            encoding = self._encoding(slide, predictor.engine.name, identity, kept)
            heatmap, report = stream(layers, grid, wanted_cells, begin, encoding, progress)
        else:
            heatmap, report = begin("empty"), StreamReport()
        probabilities = heatmap.read()
        times["stream"] = time.perf_counter()
        if large:
            give_back()
        if report.failed and not np.isfinite(probabilities).any():
            raise SlideError(f"{slide.path}: no patch of it can be decoded ({report.failed[0].reason})")
        failed = wanted_cells & ~np.isfinite(probabilities)
        where = without_patches(where, grid, failed)
        key = identity["slide_fingerprint"] + identity["model_sha256"]
        found = delineate(probabilities, grid, where, settings.resolved(package), key)
        labels = {"idc": found.numbers, "tissue": where.astype(np.uint8)}
        heatmap.add_labels(labels, fine_grid(grid))
        (out / "regions.geojson").write_text(to_geojson(found.regions, found.bands), encoding="utf-8")
        if large:
            give_back()
        draw_overview(out / "overview.png", slide.name, tissue.thumbnail, probabilities, grid, found.regions)
        summary = summarise(slide, package, identity, tissue, grid, found.regions, report, probabilities, engine)
        write_report(out / "report.html", summary, out / "overview.png", found.regions)
        times["write"] = time.perf_counter()
        summary["timings"] = timings(times, report)
        heatmap.move(out / "heatmap.zarr")
        # Under another name first: summary.json, once there, means that all the others are whole.
        unnamed = out / "summary.json.part"
        unnamed.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        unnamed.replace(out / "summary.json")
        return summary
