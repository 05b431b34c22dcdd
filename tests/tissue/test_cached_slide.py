from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.errors import SlideError
from wsi_idc.slides.scale import Mpp
from wsi_idc.slides.slide import Slide
from wsi_idc.tissue.cached_slide import SIDE, CopiedSlide


class Counting:
    """A slide at 1 um/px, noise, that counts what is read of it; nothing that touches `damaged` can be decoded."""

    path, size, mpp, background = "counting", (3 * SIDE + 300, 2 * SIDE + 200), Mpp(1.0, 1.0, "test"), (255, 255, 255)

    def __init__(self, damaged=None):
        self.damaged, self.reads = damaged, []
        noise = np.random.default_rng(0).integers(0, 256, (self.size[1], self.size[0], 3), dtype=np.uint8)
        # A pixel at 2 um shows every second one: how a slide averages is its own affair.
        self.pixels = {1.0: noise, 2.0: noise[::2, ::2]}

    def read(self, x, y, width, height, mpp):
        self.reads.append((x, y, width, height, mpp))
        x, y = round(x / mpp), round(y / mpp)
        if self.damaged and x <= self.damaged[0] < x + width and y <= self.damaged[1] < y + height:
            raise SlideError("cannot decode")
        out = np.full((height, width, 3), 255, np.uint8)
        part = self.pixels[mpp][y : y + height, x : x + width]
        out[: part.shape[0], : part.shape[1]] = part
        return out


@settings(max_examples=40)
@given(st.integers(0, 2400), st.integers(0, 1400), st.integers(1, 900), st.integers(1, 900))
def test_any_rectangle_is_that_of_the_slide(tmp_path_factory, x, y, width, height):
    slide = Counting()
    copied = CopiedSlide(slide, 1.0, tmp_path_factory.mktemp("copy"))
    expected = slide.read(x, y, width, height, 1.0)
    np.testing.assert_array_equal(copied.read(x, y, width, height, 1.0), expected)
    np.testing.assert_array_equal(copied.read(x, y, width, height, 1.0), expected)


def test_each_block_is_decoded_once_whoever_asks(tmp_path):
    slide = Counting()
    copied = CopiedSlide(slide, 1.0, tmp_path)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: copied.read(0, 0, *slide.size, 1.0), range(8)))
    np.testing.assert_array_equal(found[-1], slide.pixels[1.0])
    assert len(slide.reads) == len(set(slide.reads)) == 12
    CopiedSlide(slide, 1.0, tmp_path).read(5, 5, 1500, 900, 1.0)
    assert len(slide.reads) == 12, "the next process finds them again"


@pytest.mark.parametrize("left", [0, 100, 1000])
def test_a_block_that_was_cut_short_is_decoded_again(tmp_path, left):
    slide = Counting()
    CopiedSlide(slide, 1.0, tmp_path).read(0, 0, *slide.size, 1.0)
    file = tmp_path / "1-2.rgb"
    file.write_bytes(file.read_bytes()[:left])
    found = CopiedSlide(slide, 1.0, tmp_path).read(0, 0, *slide.size, 1.0)
    np.testing.assert_array_equal(found, slide.pixels[1.0])
    assert len(slide.reads) == 13


def test_another_scale_and_places_between_its_pixels_are_read_from_the_slide(tmp_path):
    slide = Counting()
    copied = CopiedSlide(slide, 1.0, tmp_path)
    copied.read(10, 10, 20, 20, 2.0)
    copied.read(10.5, 10, 20, 20, 1.0)
    copied.read(-3, 0, 20, 20, 1.0)
    assert slide.reads == [(10, 10, 20, 20, 2.0), (10.5, 10, 20, 20, 1.0), (-3, 0, 20, 20, 1.0)]
    assert not list(tmp_path.iterdir())


def test_a_block_that_cannot_be_decoded_costs_only_what_is_damaged(tmp_path):
    slide = Counting(damaged=(100, 100))
    copied = CopiedSlide(slide, 1.0, tmp_path)
    with pytest.raises(SlideError, match="cannot decode"):
        copied.read(50, 50, 100, 100, 1.0)
    np.testing.assert_array_equal(copied.read(101, 0, 300, 300, 1.0), slide.pixels[1.0][:300, 101:401])
    assert sum(read[2:4] == (SIDE, SIDE) for read in slide.reads) == 1, "tried once as a whole"


def test_of_a_real_file_it_gives_the_same_pixels(painted, tmp_path):
    with Slide(painted) as slide:
        copied = CopiedSlide(slide, 4.0, tmp_path)
        for rectangle in ((0, 0, 300, 200), (450, 250, 400, 500)):
            x, y, width, height = (float(v) for v in rectangle)
            expected = slide.read(x, y, int(width), int(height), 4.0)
            np.testing.assert_array_equal(copied.read(x, y, int(width), int(height), 4.0), expected)
