import numpy as np
import pytest

from wsi_idc.base.optical_density import natural_density, optical_density, pixels_of


def test_a_tenth_of_the_light_has_density_one():
    """(24 + 1) is a tenth of (249 + 1), (249 + 1) is all of it, and what is brighter lies below."""
    assert optical_density(np.array([24, 249, 251]), 249) == pytest.approx([1, 0, -np.log10(252 / 250)])


def test_light_goes_by_colour():
    found = optical_density(np.array([[99.0, 9.0]]), np.array([999.0, 99.0]))
    assert found == pytest.approx(np.ones((1, 2)))


def test_natural_density_is_over_white_and_comes_back():
    pixels = np.arange(256, dtype=np.uint8)
    density = natural_density(pixels)
    assert density.dtype == np.float32
    assert density[[255, 127, 0]] == pytest.approx([0, np.log(2), np.log(256)], rel=1e-6)
    np.testing.assert_array_equal(pixels_of(density), pixels)


def test_what_no_pixel_can_be_is_the_nearest_one_that_can():
    assert pixels_of(np.array([-1.0, 20.0])).tolist() == [255, 0]
