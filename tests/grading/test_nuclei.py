import numpy as np
import pytest
from skimage.color import rgb_from_hed

from wsi_idc.grading.nuclei import measure_nuclei


def painted(places, side=400, radius=8, haematoxylin=0.6):
    """A field of 0.5 um/px with discs of nuclei on eosin, and a little noise."""
    rows, cols = np.indices((side, side))
    mask = np.zeros((side, side), bool)
    for row, col in places:
        mask |= (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    density = np.where(mask, haematoxylin, 0.03)[..., None] * rgb_from_hed[0] + 0.15 * rgb_from_hed[1]
    noise = np.random.default_rng(0).normal(0, 2, density.shape)
    return np.clip(255 * 10.0**-density + noise, 0, 255).astype(np.uint8)


def test_count_density_and_size_of_painted_nuclei():
    places = [(row, col) for row in range(20, 400, 40) for col in range(20, 400, 40)]
    found = measure_nuclei(painted(places), 0.5)
    assert found.count == 100
    # 200 um a side: 0.04 mm2.
    assert found.per_mm2 == pytest.approx(2500)
    assert found.area_um2 == pytest.approx([np.pi * 16] * 3, rel=0.08)
    assert 0.12 < found.density < 0.6


def test_two_that_touch_are_two():
    assert measure_nuclei(painted([(100, 100), (100, 114), (300, 300)]), 0.5).count == 3


def test_one_on_the_upper_or_left_border_counts_and_one_on_the_others_does_not():
    found = measure_nuclei(painted([(0, 100), (200, 0), (399, 200), (250, 399), (200, 200)]), 0.5)
    assert found.count == 3
    assert found.area_um2[1] == pytest.approx(np.pi * 16, rel=0.08), "only the one that is wholly in it"


@pytest.mark.parametrize("pixels", [np.full((50, 50, 3), 255, np.uint8), painted([])])
def test_where_there_are_none_none_are_made_of_noise(pixels):
    found = measure_nuclei(pixels, 0.5)
    assert (found.count, found.per_mm2, found.area_um2) == (0, 0, None)


def test_a_fragment_is_no_nucleus():
    assert measure_nuclei(painted([(100, 100)], radius=2), 0.5).count == 0


def test_the_scale_of_the_picture_changes_the_size_and_not_the_count():
    fine = painted([(80, 80), (200, 200)])
    coarse = fine.reshape(200, 2, 200, 2, 3).mean((1, 3)).astype(np.uint8)
    one, other = measure_nuclei(fine, 0.5), measure_nuclei(coarse, 1.0)
    assert one.count == other.count == 2
    assert one.area_um2[1] == pytest.approx(other.area_um2[1], rel=0.15)
