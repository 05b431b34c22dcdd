import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsi_idc
from wsi_idc import read_heatmap
from wsi_idc.base.grid import Block, Grid
from wsi_idc.errors import SettingsError
from wsi_idc.heatmap.overlap import cells, merge, shifted, under

from helpers import contents


def grid(rows, cols, size=10):
    return Grid((cols * size, rows * size), (1.0, 1.0), size, 1.0)


def merged(found, onto, block=None):
    """Merge heatmaps of whole grids, and return a block, by default all, of what comes out."""
    block = block or Block(0, 0, *onto.shape)
    parts = [(g, under(g, onto, block), values) for g, values in found]
    return merge([(g, part, values[part.slices]) for g, part, values in parts], onto, block)


def test_a_stride_of_half_a_patch_weighs_its_four_patches_alike():
    """By hand: one row of two patches, and the one that lies between them."""
    whole = grid(1, 2)
    onto = cells(whole, 5)
    assert onto.shape == (2, 4)
    values = {(0, 0): [[0.1, 0.5]], (5, 0): [[0.9, np.nan]], (0, 5): [[np.nan, np.nan]], (5, 5): [[np.nan, np.nan]]}
    grids = shifted(whole, 5)
    assert [g.shift for g in grids] == [(0, 0), (5, 0), (0, 5), (5, 5)]
    assert [g.shape for g in grids] == [(1, 2), (1, 2), (1, 2), (1, 2)]
    found = merged([(g, np.array(values[g.shift], np.float32)) for g in grids], onto)
    np.testing.assert_allclose(found, [[0.1, 0.5, 0.7, 0.5]] * 2, rtol=1e-6)


def test_patches_weigh_less_the_further_they_are():
    """A stride of a fifth: weights 1 2 3 2 1 along the row, of patches that begin 4, 3 ... 0 squares before."""
    whole = grid(1, 3)
    onto = cells(whole, 2)
    found = [(g, np.full(g.shape, g.shift[0] / 2, np.float32)) for g in shifted(whole, 2) if g.shift[1] == 0]
    # Square 4 is the last of the patch at 0, the next to last of that at 1, and so on.
    assert merged(found, onto)[0, 4] == pytest.approx((1 * 0 + 2 * 1 + 3 * 2 + 2 * 3 + 1 * 4) / 9)
    # Square 1 is covered by the patches at 0 and 1 only, as their second and first.
    assert merged(found, onto)[0, 1] == pytest.approx((2 * 0 + 1 * 1) / 3)


@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 2, 5, 10]), st.floats(0, 1, width=32))
def test_where_all_agree_so_does_the_mean(rows, cols, stride, value):
    whole = grid(rows, cols)
    onto = cells(whole, stride)
    assert onto.shape == (rows * 10 // stride, cols * 10 // stride)
    found = merged([(g, np.full(g.shape, value, np.float32)) for g in shifted(whole, stride)], onto)
    np.testing.assert_allclose(found, value, rtol=1e-6)


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 2, 5, 10]), st.integers(1, 13), st.integers(0, 99))
def test_blocks_are_merged_as_the_whole_is(rows, cols, stride, side, seed):
    whole, rng = grid(rows, cols), np.random.default_rng(seed)
    onto = cells(whole, stride)
    found = [(g, rng.random(g.shape, np.float32)) for g in shifted(whole, stride)]
    for _, values in found:
        values[rng.random(values.shape) < 0.2] = np.nan
    everything = merged(found, onto)
    for block in onto.blocks(side):
        np.testing.assert_array_equal(merged(found, onto, block), everything[block.slices])


def test_overlapping_patches_show_what_lies_between_them(painted, tmp_path):
    """Each of the four grids is a run of its own on the slide cut by as much."""
    half = wsi_idc.segment(painted, tmp_path / "half", stride=25)
    mosaic = wsi_idc.segment(painted, tmp_path / "mosaic")
    fine, provenance = read_heatmap(half.heatmap)
    coarse, _ = read_heatmap(mosaic.heatmap)
    assert provenance["patch_um"] == 100 and provenance["parameters"]["stride"] == 25
    assert fine.shape == tuple(2 * n for n in coarse.shape)
    assert half.summary["patches"] == np.isfinite(fine).sum() and half.summary["patch_mm2"] == 0.01
    both = np.isfinite(fine) & np.isfinite(coarse).repeat(2, 0).repeat(2, 1)
    assert np.corrcoef(fine[both], coarse.repeat(2, 0).repeat(2, 1)[both])[0, 1] > 0.9
    # The same however often, and with one thread.
    again = wsi_idc.runs.batch.segment_slides(
        [painted], tmp_path / "again", wsi_idc.find_model(), wsi_idc.Settings(stride=25, threads=1)
    )[painted]
    assert contents(again.folder) == contents(half.folder)


def test_a_stride_that_does_not_divide_a_patch_is_refused(painted, tmp_path):
    with pytest.raises(SettingsError, match=r"stride = 20: .* give one of 50, 25, 10, 5, 2, 1"):
        wsi_idc.segment(painted, tmp_path, stride=20)
    assert not any((tmp_path / "painted").glob("*")) if (tmp_path / "painted").exists() else True
