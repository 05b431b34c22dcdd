"""Places of a slide as patches to be explained: those of the grid that a run computes, read as a run reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dask.system import CPU_COUNT

from wsi_idc.base.grid import Block, Grid
from wsi_idc.errors import DataError
from wsi_idc.explanation.patch import Subject
from wsi_idc.explanation.picture import SIDE
from wsi_idc.models.package import ModelPackage
from wsi_idc.runs.results.warnings import warnings_of
from wsi_idc.runs.settings import Settings
from wsi_idc.slides.slide import Slide, check_scale
from wsi_idc.tissue.glass import tissue_of


def read_places(
    path: Path, at: Sequence[tuple[float, float]], package: ModelPackage, mpp: float | None
) -> tuple[list[Subject], list[str]]:
    """Read the patches in which places (x, y) of a slide lie, in level-0 pixels; and what a run would warn of.

    A place where a run would compute nothing, for lack of tissue, is warned of too. Raises SlideError where the slide
    cannot be read, DataError for a place outside of it.
    """
    subjects = []
    with Slide(path, mpp) as slide:
        check_scale(slide, package)
        _check_inside(slide, at)
        tissue = tissue_of(slide, CPU_COUNT)
        notes = warnings_of(slide, tissue)
        grid = Grid(slide.size, (slide.mpp.x, slide.mpp.y), package.patch_size, package.mpp)
        shares = grid.share(tissue.mask, tissue.um)
        # For the eye: as many pixels as a panel has, and no more than there are.
        side = round(grid.patch_um / min(package.mpp, max(grid.patch_um / SIDE, slide.mpp.x, slide.mpp.y)))
        for x, y in at:
            # A sliver at the far side has no patch of its own.
            row, column = (
                min(int(v // step), last - 1) for v, step, last in zip((y, x), grid.step[::-1], grid.shape, strict=True)
            )
            left, top = grid.origin(Block(row, column, row + 1, column + 1))
            pixels = slide.read(left, top, package.patch_size, package.patch_size, package.mpp)
            closer = slide.read(left, top, side, side, grid.patch_um / side)
            share = float(shares[row, column])
            subjects.append(Subject(str(path), pixels, (left, top, *grid.step), share, closer))
            if share < Settings().min_tissue:
                notes.append(f"{x:g},{y:g}: {share:.0%} of the patch is tissue: a run computes nothing there")
        slide.check_unchanged()
    return subjects, notes


def _check_inside(slide: Slide, at: Sequence[tuple[float, float]]) -> None:
    for x, y in at:
        if not (0 <= x < slide.size[0] and 0 <= y < slide.size[1]):
            raise DataError(
                f"{slide.path}: {x:g},{y:g} is outside of its {slide.size[0]} x {slide.size[1]} pixels; "
                "give a place in level-0 pixels, as QuPath and regions.geojson have them"
            )
