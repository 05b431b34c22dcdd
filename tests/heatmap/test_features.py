"""Features kept by chunks: what is read is what was kept, wherever the rectangle lies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_idc.base.grid import Block
from wsi_idc.heatmap.features import KeptFeatures

ROWS, COLS, CHUNK = 11, 7, 4


def chunks():
    return [
        Block(top, left, min(top + CHUNK, ROWS), min(left + CHUNK, COLS))
        for top in range(0, ROWS, CHUNK)
        for left in range(0, COLS, CHUNK)
    ]


@st.composite
def blocks(draw):
    rows, cols = (sorted(draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in (ROWS, COLS))
    return Block(rows[0], cols[0], rows[1], cols[1])


@given(blocks(), blocks(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_any_rectangle_of_what_was_kept(tmp_path_factory, kept, asked, views, seed):
    whole = np.full((views, ROWS, COLS, 2), np.nan, np.float32)
    features = KeptFeatures(tmp_path_factory.mktemp("kept") / "features", whole.shape, CHUNK)
    for chunk in chunks():
        top, left = max(chunk.top, kept.top), max(chunk.left, kept.left)
        part = Block(top, left, min(chunk.bottom, kept.bottom), min(chunk.right, kept.right))
        if min(part.shape) > 0:
            values = np.random.default_rng(seed).random((views, *part.shape, 2), np.float32)
            whole[(slice(None), *part.slices)] = values
            features.keep(part, values)
    np.testing.assert_array_equal(features.read(asked), whole[(slice(None), *asked.slices)])


def test_a_chunk_is_held_with_just_its_patches(tmp_path):
    features = KeptFeatures(tmp_path / "features", (1, ROWS, COLS, 2), CHUNK)
    block, wanted = Block(4, 0, 7, 4), np.ones((3, 4), bool)
    assert not features.holds(block, wanted)
    values = np.zeros((1, 3, 4, 2), np.float32)
    features.keep(block, values)
    assert features.holds(block, wanted)
    # Of a patch that could not be decoded there are none: it is tried again.
    values[0, 1, 2] = np.nan
    features.keep(block, values)
    assert not features.holds(block, wanted)
    wanted[1, 2] = False
    assert features.holds(block, wanted)
    assert [p.name for p in (tmp_path / "features").iterdir()] == ["1-0.f32"]


@pytest.mark.parametrize("left", [0, 100, 127])
def test_a_chunk_that_was_cut_short_is_not_held(tmp_path, left):
    features = KeptFeatures(tmp_path / "features", (1, ROWS, COLS, 2), CHUNK)
    block, wanted = Block(4, 0, 7, 4), np.ones((3, 4), bool)
    features.keep(block, np.zeros((1, 3, 4, 2), np.float32))
    file = tmp_path / "features" / "1-0.f32"
    file.write_bytes(file.read_bytes()[:left])
    assert not features.holds(block, wanted)
    features.keep(block, np.zeros((1, 3, 4, 2), np.float32))
    assert features.holds(block, wanted)
