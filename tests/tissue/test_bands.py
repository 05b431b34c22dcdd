import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold
from skimage.morphology import remove_small_objects

from wsi_idc.tissue import bands as planes
from wsi_idc.tissue.bands import Bands, hysteresis, window_means, without_small

images = array_shapes(min_dims=2, max_dims=2, max_side=12)


@given(arrays(np.uint8, images, elements=st.integers(0, 2)))
def test_hysteresis_is_that_of_skimage(level):
    np.testing.assert_array_equal(hysteresis(level), apply_hysteresis_threshold(level, 0, 1))


@given(arrays(bool, images), st.integers(0, 6))
def test_small_parts_go_as_skimage_takes_them(mask, largest):
    np.testing.assert_array_equal(without_small(mask, largest), remove_small_objects(mask, max_size=largest))


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)), st.integers(3, 9))
def test_band_by_band_is_as_a_whole(mask, band):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planes, "BAND", band)
        found = Bands(len(mask), 3).over(mask, lambda part: ndimage.binary_dilation(part, iterations=2), 2)
    np.testing.assert_array_equal(found, ndimage.binary_dilation(mask, iterations=2))


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9)), st.integers(1, 5))
def test_windows_that_the_border_cuts_average_what_is_there(image, side):
    found = window_means(image, side)
    for (row, col), value in np.ndenumerate(found):
        window = image[row * side : (row + 1) * side, col * side : (col + 1) * side]
        assert value == pytest.approx(window.mean(), rel=1e-6)
