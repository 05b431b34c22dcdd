"""Which patches of a slide that was outlined are IDC, which are not, and which are neither."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsi_idc.base.grid import Grid
from wsi_idc.data.cut import BEYOND, BORDER, IDC, NOT_IDC, Rule, label_cells
from wsi_idc.errors import DataError


def outline(mask, scale=1):
    """Outline the pixels of a mask (h, w) bool exactly."""
    rows, cols = np.nonzero(mask)
    squares = shapely.box(cols * scale, rows * scale, (cols + 1) * scale, (rows + 1) * scale)
    return shapely.union_all(squares)


def shares_of(mask, side=50):
    """Average a mask over patches; what lies beyond it counts as False."""
    rows, cols = (-(-n // side) for n in mask.shape)
    padded = np.zeros((rows * side, cols * side))
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return padded.reshape(rows, side, cols, side).mean((1, 3))


masks = arrays(bool, (13, 17))


@settings(max_examples=150)
@given(masks, masks, st.sampled_from([0.5, 0.6, 0.8, 1.0]), st.sampled_from([1, 7]))
def test_labels_are_those_of_counted_pixels(idc, roi, inside, scale):
    """Areas of outlines that run along pixels are counts of pixels; the last row and column reach beyond the slide."""
    idc &= roi
    grid = Grid((17 * scale, 13 * scale), (1.0, 1.0), 5, float(scale))
    cells = np.argwhere(np.ones(grid.shape, bool))
    assert grid.shape == (3, 4)
    found = label_cells(grid, cells, outline(idc, scale), outline(roi, scale), Rule(inside=inside))
    within, known = np.rint(25 * shares_of(idc, 5)), np.rint(25 * shares_of(roi, 5))
    need = round(25 * inside, 6)
    expected = np.select([within >= need, known - within >= need, known < need], [IDC, NOT_IDC, BEYOND], default=BORDER)
    assert found.reshape(grid.shape).tolist() == expected.tolist()


def test_the_rule_for_the_border_at_a_scale_that_does_not_divide():
    """Patches of 200 um are 400.8016 px a side at 0.499 um/px; 80 % of the first are 320.64 columns."""
    grid = Grid((1600, 400), (0.499, 0.499), 50, 4.0)
    slide = shapely.box(0, 0, 1600, 400)
    for right, label in ((321, IDC), (320, BORDER), (81, BORDER), (80, NOT_IDC)):
        area = shapely.box(0, 0, right, 400)
        # Of the 400.8 rows the slide has 400.
        assert label_cells(grid, np.array([[0, 0]]), area, slide, Rule(inside=0.798))[0] == label
    # 1,600 px are 3.992 patches: of the fourth 99.2 % are on the slide.
    assert label_cells(grid, np.array([[0, 3]]), shapely.box(0, 0, 10, 10), slide, Rule(inside=1.0))[0] == BEYOND


@pytest.mark.parametrize("change", [{"inside": 0.4}, {"inside": 1.1}, {"min_tissue": 0.0}, {"min_tissue": 1.5}])
def test_rules_that_cannot_be_meant(change):
    with pytest.raises(ValueError, match="is not"):
        Rule(**change)


def test_a_class_that_is_neither_cannot_be_cut():
    with pytest.raises(DataError, match=r"class 'Ignore\*': ends in \*"):
        Rule("Ignore*")
