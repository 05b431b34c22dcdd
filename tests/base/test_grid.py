from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.base.grid import Block, Grid

from helpers import by_hand

quick = settings(max_examples=60)
starts = st.floats(-30, 30, allow_nan=False)
steps = st.floats(0.05, 25, allow_nan=False)
grids = st.builds(
    Grid,
    st.tuples(st.integers(1, 90_000), st.integers(1, 90_000)),
    st.tuples(st.floats(0.2, 1.0), st.floats(0.2, 1.0)),
    st.just(50),
    st.sampled_from([1.0, 2.0, 4.0]),
)


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_kaggle_patch_begins_at_its_own_pixel(row: int, column: int) -> None:
    grid = Grid((4000, 3000), (4.0, 4.0), 50, 4.0)
    patch = Block(row, column, row + 1, column + 1)
    assert grid.origin(patch) == (50 * column, 50 * row)
    assert grid.pixel_size(patch) == (50, 50)


def test_a_40x_slide_under_a_4_um_model() -> None:
    grid = Grid((80_000, 40_001), (0.25, 0.25), 50, 4.0)
    assert grid.step == (800, 800)
    assert grid.shape == (51, 100)  # rows of the height, columns of the width; the last row begins at pixel 40,000
    assert grid.origin(Block(3, 7, 4, 8)) == (5600, 2400)
    assert grid.patch_um == 200
    assert grid.patch_mm2 == pytest.approx(0.04)
    assert grid.pixel_size(Block(0, 0, 2, 3)) == (150, 100)
    assert grid.to_level0(np.array([[0, 0], [1, 2], [0.5, 50]])).tolist() == [[0, 0], [800, 1600], [400, 40_000]]


def test_unequal_axes_keep_patches_square_in_um() -> None:
    grid = Grid((1000, 1000), (0.5, 0.505), 50, 2.0)
    assert grid.step == pytest.approx((200, 100 / 0.505))
    assert grid.shape == (6, 5)
    assert grid.to_level0(np.array([[2, 3]]))[0] == pytest.approx([400, 300 / 0.505])


def test_rounding_of_the_mpp_makes_no_sliver_of_a_patch() -> None:
    assert Grid((4000, 4000), (0.2500001, 0.2500001), 50, 4.0).shape == (5, 5)
    assert Grid((4008, 4000), (0.25, 0.25), 50, 4.0).shape == (5, 6)  # a hundredth of a patch is tissue
    assert Grid((3, 2), (0.25, 0.25), 50, 4.0).shape == (1, 1)


@quick
@given(grids)
def test_the_grid_covers_the_slide_and_not_a_row_more(grid: Grid) -> None:
    for n, size, step in zip(grid.shape[::-1], grid.slide_size, grid.step, strict=True):
        assert n * step >= size - 0.001 * step - 1e-6
        assert n == 1 or (n - 1) * step < size


@quick
@given(grids, st.integers(3, 70))
def test_every_patch_is_in_one_block(grid: Grid, side: int) -> None:
    small = Grid(tuple(min(s, 9000) for s in grid.slide_size), grid.slide_mpp, 50, grid.mpp)  # type: ignore[arg-type]
    seen = np.zeros(small.shape, int)
    for block in small.blocks(side):
        assert block.top % side == block.left % side == 0
        assert 1 <= min(block.shape) <= max(block.shape) <= side
        assert seen[block.slices].shape == block.shape
        seen[block.slices] += 1
    assert (seen == 1).all()


@quick
@given(st.integers(1, 12), st.integers(1, 12), st.floats(3, 80), st.integers(40, 600), st.integers(40, 600), st.data())
def test_share_is_the_area_of_the_mask_in_each_patch(
    height: int, width: int, mask_um: float, slide_w: int, slide_h: int, data: st.DataObject
) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width)))
    mask = mask.reshape(height, width)
    grid = Grid((slide_w, slide_h), (1.0, 1.0), 10, 7.0)
    got = grid.share(mask, mask_um)
    step = grid.patch_um / mask_um
    half = np.array([by_hand(line, grid.shape[1], 0, step) for line in mask.astype(int) * 1000])
    by_area = np.array([by_hand(line, grid.shape[0], 0, step) for line in (half.T * 1000).round().astype(int)]).T / 1e6
    assert got.shape == grid.shape and got.dtype == np.float32
    assert got == pytest.approx(by_area, abs=1e-4)


def test_share_of_patches_beyond_the_mask_is_nought() -> None:
    grid = Grid((400, 200), (1.0, 1.0), 25, 4.0)
    assert grid.share(np.ones((2, 3), bool), 75.0).tolist() == [[1, 1, 0.25, 0], [0.5, 0.5, 0.125, 0]]
