"""What is drawn over pictures."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from wsi_idc.base.pages.strokes import highest


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (31, 17)])
def test_the_highest_around_is_that_of_pillow(size):
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, size[::-1], np.uint8))
    before = np.array(image)
    assert np.array_equal(highest(image), image.filter(ImageFilter.MaxFilter(3)))
    assert np.array_equal(image, before)
