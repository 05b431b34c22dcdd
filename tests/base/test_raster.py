from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.base.raster import area_weights, average

from helpers import by_hand

WHITE = (255, 255, 255)
quick = settings(max_examples=60)
starts = st.floats(-30, 30, allow_nan=False)
steps = st.floats(0.05, 25, allow_nan=False)


# Of an odd number of pixels beyond 500 a mean may lie less than a thousandth below a half, which weights round up.
@given(st.integers(1, 22), st.integers(1, 22), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_whole_steps_are_means_with_halves_rounded_up(across, down, width, height, seed):
    block = np.random.default_rng(seed).integers(0, 256, (height * down, width * across, 3), np.uint8)
    sums = block.reshape(height, down, width, across, 3).sum((1, 3), dtype=np.int64)
    got = average(block, (0.0, 0.0), (float(across), float(down)), (height, width), WHITE)
    np.testing.assert_array_equal(got, (2 * sums + across * down) // (2 * across * down))
    # The same as by weights, which a start that is not whole asks for.
    by_weights = average(
        np.pad(block, [(1, 0), (1, 0), (0, 0)]), (1.0, 1.0), (float(across), float(down)), (height, width), WHITE
    )
    np.testing.assert_array_equal(got, by_weights)


@given(st.floats(0, 3), st.floats(1, 6), st.integers(1, 5))
def test_parts_of_pixels_count_by_area(start, scale, count):
    """On a ramp the mean over a stretch is the value at its middle."""
    ramp = np.repeat(np.arange(0, 80, 2, np.uint8)[None, :, None], 3, axis=2)
    got = average(ramp, (start, 0.0), (scale, 1.0), (1, count), WHITE)[0, :, 0]
    weights = area_weights(count, start, scale, 40).toarray()
    np.testing.assert_allclose(got, weights @ np.arange(0, 80, 2), atol=0.51)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)


def test_what_is_outside_is_background():
    black = np.zeros((4, 4, 3), np.uint8)
    got = average(black, (-2.0, 0.0), (4.0, 4.0), (1, 2), (200, 100, 50))
    assert got.tolist() == [[[100, 50, 25], [100, 50, 25]]]


@quick
@given(st.lists(st.integers(0, 255), min_size=1, max_size=20), st.integers(1, 8), starts, steps)
def test_area_weights_average_exactly_by_area(values: list[int], n_out: int, start: float, step: float) -> None:
    image = np.array(values)
    got = area_weights(n_out, start, step, len(values)) @ image
    assert got == pytest.approx(by_hand(image, n_out, start, step), abs=1e-3)


@quick
@given(st.integers(1, 20), st.integers(1, 8), starts, steps)
def test_rows_of_area_weights_sum_to_what_lies_inside(n_in: int, n_out: int, start: float, step: float) -> None:
    weights = area_weights(n_out, start, step, n_in)
    low = start + step * np.arange(n_out)
    covered = np.clip(np.minimum(low + step, n_in) - np.maximum(low, 0), 0, None) / step
    assert weights.shape == (n_out, n_in)
    assert np.asarray(weights.sum(1)).ravel() == pytest.approx(covered, abs=1e-5)
    assert weights.nnz == 0 or weights.data.min() >= 0


def test_area_weights_written_out() -> None:
    assert area_weights(2, 0.5, 1.5, 4).toarray() == pytest.approx(
        np.array([[1 / 3, 2 / 3, 0, 0], [0, 0, 2 / 3, 1 / 3]])
    )
    assert area_weights(4, 0, 0.5, 2).toarray().tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert area_weights(3, -1, 1, 1).toarray().tolist() == [[0], [1], [0]]


@pytest.mark.parametrize("start", [-500.0, 500.0])
def test_area_weights_wholly_outside(start: float) -> None:
    assert area_weights(3, start, 2.5, 10).nnz == 0
