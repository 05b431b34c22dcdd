"""The four steps of a slide: find what is to be computed, compute it, outline it, write it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.annotations.formats.qupath import to_geojson
from wsi_idc.base.files import replacing
from wsi_idc.base.grid import Grid
from wsi_idc.base.progress import Progress
from wsi_idc.base.threads import in_parallel
from wsi_idc.errors import SlideError
from wsi_idc.heatmap.encode import copy_of, open_encoder
from wsi_idc.heatmap.overlap import cells, shifted
from wsi_idc.heatmap.store import HeatmapStore
from wsi_idc.heatmap.stream import RunChunks, StreamReport, stream
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import ModelPackage
from wsi_idc.regions.delineate import delineate, fine_tissue, without_patches
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.runs.memory import give_back
from wsi_idc.runs.results.familiar import familiarity
from wsi_idc.runs.results.folder import SUMMED
from wsi_idc.runs.results.layers import crops_of
from wsi_idc.runs.results.origin import origin_of
from wsi_idc.runs.results.overview import Pictured, draw_overview, draw_thumbnail
from wsi_idc.runs.results.picture import picture
from wsi_idc.runs.results.report import write_report
from wsi_idc.runs.results.summary import summarise, timings
from wsi_idc.runs.results.sums import sealed, sums_of
from wsi_idc.runs.settings import Settings
from wsi_idc.runs.work import Work
from wsi_idc.slides.slide import Slide
from wsi_idc.tissue.glass import tissue_of, without_glass
from wsi_idc.tissue.tissue import TissueMap, find_tissue

# In the folder of what is not finished.
PLAN = "plan.json"
# Pixels of the mask of a slide that takes so much memory that it is given back between stages; else it costs time only.
_LARGE_MASK = 4_000_000


def look(slide: Slide, package: ModelPackage, settings: Settings) -> tuple[TissueMap, list[tuple[Grid, np.ndarray]]]:
    """Find the tissue of a slide and the patches to be computed, as `find` does; keeps nothing."""
    tissue = tissue_of(slide, settings.n_threads)
    return tissue, _patch_grids(_grid(slide, package), tissue, package, settings)


def find(work: Work) -> None:
    """Find the tissue, the patches to be computed, and the squares that get a probability."""
    slide, package, settings = work.slide, work.package, work.settings
    copy = copy_of(slide, work.unfinished, without_glass(slide, settings.n_threads))
    tissue = find_tissue(copy, settings.n_threads)
    work.patch_grids = _patch_grids(_grid(slide, package), tissue, package, settings)
    copy.complete(work.patch_grids)
    work.ended("tissue")
    work.grid = cells(_grid(slide, package), settings.stride_of(package))
    first, wanted = work.patch_grids[0]
    # Where patches do not overlap, the squares that get a probability are the patches.
    work.wanted = wanted if work.grid == first else _wanted(work.grid, tissue, settings)
    work.tissue_fine = fine_tissue(tissue.mask, tissue.um, work.grid)
    _keep_plan(work)
    work.large, work.tissue = tissue.mask.size > _LARGE_MASK, tissue.without_planes()


def _keep_plan(work: Work) -> None:
    """Say beside what is computed what of: a viewer shows it meanwhile."""
    plan = {"slide": str(work.slide.path.absolute()), "mpp": work.slide.given_mpp, "grid": asdict(work.grid)}
    plan |= {"patches": int(work.wanted.sum()), "threshold": work.settings.peak}
    with replacing(work.unfinished / PLAN, durable=False) as temporary:
        temporary.write_text(json.dumps(plan), encoding="utf-8")


def compute(work: Work, predictor: Predictor, encoding: RunChunks, progress: Progress | None) -> None:
    """Compute the heatmap, chunk by chunk; `progress` is told of the patches that are done.

    Raises SlideError where not a single patch can be decoded, or the model gives a number for none.
    """
    settings = work.settings
    # Before hours of computing: a damaged file of the model would lose them.
    known = work.package.read_familiar()
    work.ended("engine")
    layers = [
        (open_encoder(work.slide, grid, predictor, work.unfinished, settings.chunk, settings.views), wanted)
        for grid, wanted in work.patch_grids
    ]
    work.engine = predictor.engine.name
    work.heatmap, work.report = stream(layers, work.heatmap_spec, work.wanted, work.unfinished, encoding, progress)
    work.probabilities = work.heatmap.read()
    copy = copy_of(work.slide, work.unfinished)
    work.familiarity = familiarity(copy, *work.patch_grids[0], known, work.report)
    work.ended("stream")
    if work.report.failed:
        # Else what could not be read, since a network drive is away, would be lost with all that could.
        work.slide.check_unchanged()
    if work.report.failed and not np.isfinite(work.probabilities).any():
        raise SlideError(f"{work.slide.path}: no patch of it can be computed ({work.report.failed[0].reason})")


def compute_nothing(work: Work) -> None:
    """Make the heatmap of a slide without a patch to compute."""
    work.engine, work.report, work.familiarity = None, StreamReport(), None
    work.heatmap = HeatmapStore.resume(work.unfinished / "heatmap-empty.zarr", work.heatmap_spec)
    work.probabilities = work.heatmap.read()
    work.ended("stream")


def outline(work: Work) -> None:
    """Outline the heatmap; what could not be computed counts as no tissue. Regions and tissue become its labels."""
    work.tissue_fine = without_patches(work.tissue_fine, work.grid, work.failed)
    work.found = delineate(work.probabilities, work.grid, work.tissue_fine, work.settings, work.key)
    labels = {"idc": work.found.numbers, "tissue": work.tissue_fine.astype(np.uint8)}
    work.heatmap.add_labels(labels, fine_grid(work.grid))


def write(work: Work, out: Path) -> dict[str, Any]:
    """Write the results into the folder `out` and return what summary.json holds; moves the heatmap there."""
    found = work.found
    text = to_geojson(found.regions, found.bands, origin_of(work.heatmap_spec.provenance))
    (out / "regions.geojson").write_text(text, encoding="utf-8")
    give_back_of(work)
    run = pictured(work)
    summary = summarise(work)

    def pictures() -> None:
        draw_overview(out / "overview.png", run)
        draw_thumbnail(out / "thumbnail.jpg", run)

    def report() -> None:
        crops = crops_of(work.slide, run, found.numbers, work.settings.n_threads)
        write_report(out / "report.html", summary, run, crops, str(work.package.training_data["description"]))

    in_parallel(lambda draw: draw(), (pictures, report), work.settings.n_threads)
    work.ended("write")
    summary["timings"] = timings(work.times, work.report)
    heatmap, *others = SUMMED
    sums = {f"{heatmap}/{name}": digest for name, digest in sums_of(work.heatmap.path, ["."]).items()}
    # Under another name first: summary.json, once there, means that all the others are whole. And before the heatmap is
    # moved: on a full disk that is still among what is unfinished.
    unnamed = out / "summary.json.part"
    unnamed.write_bytes(sealed(summary, sums | sums_of(out, others)))
    work.heatmap.move(out / heatmap)
    unnamed.replace(out / "summary.json")
    return summary


def pictured(work: Work) -> Pictured:
    """Return what pictures show of a run that has been outlined."""
    found, settings = work.found, work.settings
    return Pictured(
        title=work.slide.name,
        pixels=picture(work.slide, copy_of(work.slide, work.unfinished), work.tissue.thumbnail),
        heatmap=work.probabilities,
        failed=work.failed,
        tissue=work.tissue_fine,
        grid=work.grid,
        regions=found.regions,
        slivers=found.slivers,
        level=settings.level,
        threshold=settings.peak,
        bands=settings.bands,
    )


def give_back_of(work: Work) -> None:
    """Give back the memory that a step took, of a slide that takes much."""
    if work.large:
        give_back()


def _grid(slide: Slide, package: ModelPackage) -> Grid:
    return Grid(slide.size, (slide.mpp.x, slide.mpp.y), package.patch_size, package.mpp)


def _patch_grids(
    grid: Grid, tissue: TissueMap, package: ModelPackage, settings: Settings
) -> list[tuple[Grid, np.ndarray]]:
    """Return the grids of patches, several where these overlap, each with those to be computed, (rows, cols)."""
    return [(g, _wanted(g, tissue, settings)) for g in shifted(grid, settings.stride_of(package))]


def _wanted(grid: Grid, tissue: TissueMap, settings: Settings) -> np.ndarray:
    # What could not be seen at low magnification may be tissue: it is tried, and reported where it fails again.
    share = grid.share(tissue.mask, tissue.um)
    return (share >= settings.min_tissue) | (grid.share(tissue.unreadable, tissue.um) > 0)
