from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import wsi_idc
from wsi_idc.base.grid import Block, Grid
from wsi_idc.demo.painter import CLASSES, PaintedSection, paint_section
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.write import write_slide
from wsi_idc.tissue import glass as glass_module
from wsi_idc.tissue.cached_slide import CopiedSlide
from wsi_idc.tissue.glass import CELL, CELL_UM, Glass, SparseSlide, find_glass, rectangles
from wsi_idc.tissue.tissue import MASK_UM, READ_UM, find_tissue

from helpers import contents

INK = (25, 60, 160)
STAIN = (225, 200, 222)


@pytest.fixture(scope="module")
def wide() -> PaintedSection:
    """A section on much glass: 6 x 4.4 mm, of which tissue covers the middle."""
    return paint_section(6.0, 4.4, 4.0, seed=4)


def write(folder: Path, pixels: np.ndarray) -> Path:
    """Write pixels of 4 um as a flat slide at 0.5 um/px; each is a block of the JPEG code."""
    fine = pixels.repeat(8, 0).repeat(8, 1)
    return write_slide(folder / "flat.tif", fine, 0.5, downsamples=(1,), tile=128)


@pytest.fixture(scope="module")
def flat(wide: PaintedSection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("flat"), wide.pixels)


def over(cells: np.ndarray, shape: tuple[int, ...], um: float) -> np.ndarray:
    """Spread cells over the pixels of an image at `um` um/px."""
    each = round(CELL_UM / um)
    return cells.repeat(each, 0).repeat(each, 1)[: shape[0], : shape[1]]


def test_glass_is_left_out_and_tissue_never(wide: PaintedSection, flat: Path) -> None:
    with Slide(flat) as slide:
        glass = find_glass(slide, 2)
        assert glass is not None and glass.empty.shape == (22, 30)
        tissue = find_tissue(slide)
    assert not (tissue.mask & over(glass.empty, tissue.mask.shape, MASK_UM)).any()
    bare = Grid(slide.size, (0.5, 0.5), 50, 4.0).share(wide.labels == CLASSES.index("glass"), 4.0) > 0.999
    assert bare.sum() > 100
    assert glass.empty[bare].mean() > 0.7
    mean = np.median(wide.pixels[wide.labels == CLASSES.index("glass")], axis=0)
    assert np.abs(glass.colours[glass.empty] - mean).max() < 12


@pytest.mark.parametrize("stride", [50, 25])
def test_a_run_is_the_same_as_with_all_of_the_glass(
    flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    sparse = wsi_idc.segment(flat, tmp_path / "sparse", stride=stride).folder
    monkeypatch.setattr("wsi_idc.tissue.glass.find_glass", lambda slide, threads: None)
    whole = wsi_idc.segment(flat, tmp_path / "whole", stride=stride).folder
    one, two = contents(sparse), contents(whole)
    # The picture of the slide is the only place where glass is seen.
    for seen in ("overview.png", "thumbnail.jpg", "report.html"):
        assert one.pop(seen) != two.pop(seen)
        # So are the sums of them.
        for found in (one, two):
            del found["summary.json"]["sums"][seen]
    for found in (one, two):
        del found["summary.json"]["sum"]
    assert one == two


@pytest.mark.parametrize("colour", [INK, STAIN])
def test_what_has_no_texture_is_looked_at(wide: PaintedSection, tmp_path: Path, colour: tuple[int, int, int]) -> None:
    """A drop of one colour takes as few bytes as glass."""
    pixels = np.full((1100, 1500, 3), (243, 242, 244), np.uint8)
    pixels[300:700, 300:700] = wide.pixels[300:700, 500:900]
    pixels[:220, 1000:1300] = colour
    with Slide(write(tmp_path, pixels)) as slide:
        glass = find_glass(slide)
        assert glass is not None and glass.empty.mean() > 0.5
        assert not glass.empty[:4, 20:26].any()
        found, all_of_it = find_tissue(SparseSlide(slide, glass)), find_tissue(slide)
    assert np.array_equal(found.mask, all_of_it.mask)
    assert found.ink_mm2 == all_of_it.ink_mm2 and (found.ink_mm2 > 0.5) == (colour == INK)


def test_bytes_tell_nothing(wide: PaintedSection, flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = write_slide(tmp_path / "small.tif", wide.pixels, 4.0, downsamples=(1,))
    lossless = write_slide(tmp_path / "lossless.tif", wide.pixels, 4.0, downsamples=(1,), compression="deflate")
    (tmp_path / "dark").mkdir()
    dark = write(tmp_path / "dark", wide.pixels // 4)
    for path in (small, lossless, dark):
        with Slide(path) as slide:
            assert find_glass(slide) is None
    monkeypatch.setattr(glass_module, "CELL_UM", 60.0)  # smaller than a tile, of 64 um
    with Slide(flat) as slide:
        assert find_glass(slide) is None


def test_only_cells_that_are_empty_are_filled(flat: Path) -> None:
    with Slide(flat) as slide:
        found = find_glass(slide)
        assert found is not None
        sparse = SparseSlide(slide, Glass(found.empty, np.full_like(found.colours, 77)))
        for left, top, width, height in ((0, 0, 1600, 1200), (100, 50, 200, 300), (1400, 1000, 230, 190)):
            corner = left * 8.0, top * 8.0
            got, whole = (s.read(*corner, width, height, READ_UM) for s in (sparse, slide))
            shape = (1200, 1600)
            empty = over(np.pad(found.empty, ((0, 2), (0, 2))), shape, READ_UM)[top : top + height, left : left + width]
            empty = np.pad(empty, [(0, n - m) for n, m in zip((height, width), empty.shape, strict=True)])
            assert (got[empty] == 77).all() and np.array_equal(got[~empty], whole[~empty])
        for arguments in ((0.0, 0.0, 60, 60, 2.0), (8.0, 0.0, 60, 60, READ_UM), (-400.0, 0.0, 60, 60, READ_UM)):
            assert np.array_equal(sparse.read(*arguments), slide.read(*arguments))


def test_glass_that_a_patch_needs_is_decoded_after_all(flat: Path, tmp_path: Path) -> None:
    with Slide(flat) as slide:
        found = find_glass(slide)
        assert found is not None
        nothing = SparseSlide(slide, Glass(np.ones_like(found.empty), found.colours))
        copied = CopiedSlide(slide, READ_UM, tmp_path, nothing)
        corner = 16 * CELL_UM / 0.5, 8 * CELL_UM / 0.5
        flat_block, true_block = (s.read(*corner, 400, 400, READ_UM) for s in (copied, slide))
        assert not np.array_equal(flat_block, true_block)
        grid = Grid(slide.size, (0.5, 0.5), 50, 4.0)
        wanted = np.zeros(grid.shape, bool)
        wanted[9, 17] = True
        copied.complete([(grid, wanted)])
        assert np.array_equal(copied.read(*corner, 400, 400, READ_UM), true_block)
        assert len(list(tmp_path.iterdir())) == 1, "other blocks are left as they are"


def test_glass_under_a_shifted_patch_is_decoded_once(flat: Path, tmp_path: Path) -> None:
    """The patch at (7, 15) lies in one block; shifted by half a patch it reaches into three more."""
    with Slide(flat) as slide:
        found = find_glass(slide)
        assert found is not None
        nothing = SparseSlide(slide, Glass(np.ones_like(found.empty), found.colours))
        copied = CopiedSlide(slide, READ_UM, tmp_path, nothing)
        grids = [Grid(slide.size, (0.5, 0.5), 50, 4.0, shift) for shift in ((0, 0), (25, 25))]
        wanted = [np.zeros(grid.shape, bool) for grid in grids]
        for one in wanted:
            one[7, 15] = True
        copied.complete(zip(grids, wanted, strict=True))
        assert {file.name for file in tmp_path.iterdir()} == {"0-1.rgb", "0-2.rgb", "1-1.rgb", "1-2.rgb"}
        corner = grids[1].origin(Block(7, 15, 8, 16))
        assert np.array_equal(copied.read(*corner, 50, 50, READ_UM), slide.read(*corner, 50, 50, READ_UM))


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=8)))
def test_rectangles_cover_what_is_wanted_once(wanted: np.ndarray) -> None:
    counted = np.zeros(wanted.shape, int)
    for top, bottom, left, right in rectangles(wanted):
        counted[top:bottom, left:right] += 1
    assert np.array_equal(counted, wanted)


def test_rectangles_of_a_block_and_a_step() -> None:
    wanted = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 1]], bool)
    assert sorted(rectangles(wanted)) == [(0, 2, 0, 2), (2, 3, 0, 3)]


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.floats(0.4, 6.0))
def test_a_stretch_is_flagged_where_any_row_of_it_is(flags: list[bool], step: float) -> None:
    count = int(np.ceil(len(flags) / step))
    found = glass_module._any_within(np.array(flags)[:, None], count, step)[:, 0]
    for i, flag in enumerate(found):
        rows = [r for r in range(len(flags)) if r < (i + 1) * step - 1e-6 and r + 1 > i * step + 1e-6]
        assert flag == any(flags[r] for r in rows)


@pytest.mark.realdata
def test_on_a_real_slide(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glass_module, "_FEWEST", 100)
    with Slide(shared / "slides" / "CMU-1-Small-Region.svs") as slide:
        glass, tissue = find_glass(slide), find_tissue(slide)
    assert glass is not None and glass.empty.mean() > 0.1
    assert not (tissue.mask & over(glass.empty, tissue.mask.shape, MASK_UM)).any()
    assert CELL * READ_UM == CELL_UM
