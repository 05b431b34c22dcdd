import numpy as np
import pytest

from wsi_idc.training.augmentation.formation import Formation, reform
from wsi_idc.training.config import FormationConfig

ALL = FormationConfig(share=1.0, resample=1.0, coarser=1.0, blur=0.5, sharpen=0.5, tone=1.0, noise=1.0, jpeg=1.0)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (30, 50, 50, 3), dtype=np.uint8)


def test_nothing_changes_where_no_patch_is_to_be_formed(pixels):
    assert (reform(pixels, FormationConfig(share=0.0), np.random.default_rng(0)) == pixels).all()


def test_a_share_of_the_patches_is_formed_anew():
    rng = np.random.default_rng(0)
    drawn = [Formation.draw(FormationConfig(share=0.7), 50, rng) == Formation() for _ in range(1000)]
    # Of the 70 %, those stay for which none of the seven changes is drawn: 0.5 * 0.85 * 0.4 * 0.3 * 0.8 * 0.5 = 2 %.
    assert np.mean(drawn) == pytest.approx(0.3 + 0.7 * 0.0204, abs=0.04)


def test_the_same_seed_forms_the_same_pixels(pixels):
    first, second = (reform(pixels, ALL, np.random.default_rng(3)) for _ in range(2))
    assert (first == second).all()
    assert first.shape == pixels.shape
    assert first.dtype == np.uint8
    assert (first != reform(pixels, ALL, np.random.default_rng(4))).any()


@pytest.mark.parametrize("side", [8, 16, 50, 51])
def test_patches_of_any_size_keep_it(side):
    patch = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    for seed in range(20):
        assert reform(patch, ALL, np.random.default_rng(seed)).shape == patch.shape


def test_amounts_stay_within_what_the_configuration_allows():
    rng = np.random.default_rng(0)
    for _ in range(500):
        one = Formation.draw(ALL, 50, rng)
        factor, x, y = one.window
        assert 1 / 1.1 - 1e-9 <= factor <= 1.1 + 1e-9
        assert max(abs(x), abs(y)) <= 0.5
        assert 31 <= one.through < 50
        assert (one.blur is None) != (one.sharpen is None)
        assert (one.blur or 0) <= 1.1
        gamma, gains, saturation = one.tone
        assert 1 / 1.2 - 1e-9 <= gamma <= 1.2 + 1e-9
        assert min(gains) >= 0.87 * 0.95 - 1e-9
        assert max(gains) <= 1.091 * 1.05 + 1e-9
        assert 0.65 <= saturation <= 1.35
        assert one.noise <= 8
        assert 40 <= one.jpeg[0] <= 97


def test_a_window_of_the_whole_patch_at_its_place_changes_nothing(pixels):
    for kernel in ("nearest", "area", "bilinear"):
        formed = Formation(window=(1.0, 0.0, 0.0), kernel=kernel).apply(pixels[0], np.random.default_rng(0))
        assert np.abs(formed.astype(int) - pixels[0]).max() <= 1
