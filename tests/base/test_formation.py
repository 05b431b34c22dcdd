import numpy as np
import pytest

from wsi_idc.base.formation import KERNELS, add_noise, blur, compress, resample, retone, sharpen


@pytest.fixture(scope="module")
def edge():
    """Black beside white."""
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:, 10:] = 255
    return pixels


def test_a_blur_is_the_gaussian_that_it_says(edge):
    """Across an edge a Gaussian of 1 px leaves its integral: 0.3085 at half a pixel, 0.0668 at one and a half."""
    row = blur(edge, 1.0)[10, :, 0] / 255
    assert row[9] == pytest.approx(0.3085, abs=0.02)
    assert row[8] == pytest.approx(0.0668, abs=0.01)
    assert (blur(edge, 0.0) == edge).all()


def test_sharpening_overshoots_on_both_sides_of_an_edge():
    pixels = np.full((20, 20, 3), 100, np.uint8)
    pixels[:, 10:] = 150
    row = sharpen(pixels, 1.0)[10, :, 0].astype(int)
    assert row[9] < 100
    assert row[10] > 150
    assert row[0] == 100
    assert row[19] == 150


def test_tones_by_hand():
    pixels = np.full((2, 2, 3), 128, np.uint8)
    assert retone(pixels, gain=0.5)[0, 0].tolist() == [64, 64, 64]
    assert retone(pixels, gain=(1.0, 0.5, 2.0))[0, 0].tolist() == [128, 64, 255]
    # 255 * (128 / 255) ** 2 = 64.25
    assert retone(pixels, gamma=2.0)[0, 0].tolist() == [64, 64, 64]
    red = np.array([[[200, 100, 100]]], np.uint8)
    # Luma 0.299 * 200 + 0.701 * 100 = 129.9: half the distance from it, or none.
    assert retone(red, saturation=0.5)[0, 0].tolist() == [165, 115, 115]
    assert retone(red, saturation=0.0)[0, 0].tolist() == [130, 130, 130]


def test_jpeg_of_full_colour_keeps_more_than_subsampled():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    errors = [np.abs(compress(pixels, q, s).astype(int) - pixels).mean() for q, s in ((95, "4:4:4"), (95, "4:2:0"))]
    assert errors[0] < errors[1]
    assert np.abs(compress(pixels, 30, "4:4:4").astype(int) - pixels).mean() > errors[0]


def test_noise_has_the_deviation_that_it_says():
    noisy = add_noise(np.full((100, 100, 3), 128, np.uint8), 5.0, np.random.default_rng(0)).astype(float)
    assert noisy.std() == pytest.approx(5.0, rel=0.03)
    assert noisy.mean() == pytest.approx(128, abs=0.2)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_plain_image_stays_plain_whatever_the_kernel(kernel):
    plain = np.full((10, 10, 3), 77, np.uint8)
    assert (resample(plain, (7, 13), kernel) == 77).all()
    assert resample(plain, (7, 13), kernel).shape == (13, 7, 3)
    assert (resample(plain, (5, 5), kernel, (1.5, 1.5, 8.5, 8.5)) == 77).all()
