import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.base.raster import average
from wsi_idc.grid import area_weights

WHITE = (255, 255, 255)


@settings(deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
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


@settings(deadline=None)
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
