import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from wsi_idc.errors import ModelError
from wsi_idc.inference.ensemble import Ensemble
from wsi_idc.inference.predictor import Predictor
from wsi_idc.inference.symmetry import symmetry

from helpers import NumpyEngine, numpy_package

SIZE = 4


class CornerEngine:
    """Sees the top left pixel of a patch (1 black, -1 white), with neighbours only that of the patch to the right."""

    name, batch_size, lanes = "corner", 8, 1

    def run(self, network, *inputs):
        if network == "encoder":
            return 1 - 2 * inputs[0][:, 0, 0, :1].astype(np.float32) / 255
        features, _, _ = inputs
        right = np.zeros_like(features)
        right[:, :, :-1] = features[:, :, 1:]
        return right


def corner(halo=0, **facts):
    return Predictor(numpy_package(halo=halo, patch_size=SIZE, **facts), CornerEngine())


def darkness(halo=0, **facts):
    return Predictor(numpy_package(halo=halo, patch_size=SIZE, **facts), NumpyEngine(halo))


@st.composite
def blocks(draw):
    rows, cols, seed = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (rows * SIZE, cols * SIZE, 3), dtype=np.uint8), rng.random((rows, cols)) < 0.7


def test_two_models_by_hand():
    """A black patch has the logit 1: calibrated 1 with temperature 1, and 2 with a half."""
    ensemble = Ensemble([darkness(), darkness(temperature=0.5)])
    found = ensemble.look(np.zeros((SIZE, SIZE, 3), np.uint8), np.ones((1, 1), bool))
    assert found.probability[0, 0] == pytest.approx(expit(1.5))
    assert found.uncalibrated[0, 0] == pytest.approx(expit(1))
    assert found.uncertainty[0, 0] == pytest.approx((expit(2) - expit(1)) / 2)


def test_eight_views_by_hand():
    """Each corner is the top left one in two of eight views: one black corner and three white ones."""
    pixels = np.full((SIZE, SIZE, 3), 255, np.uint8)
    pixels[-1, 0] = 0
    found = Ensemble([corner()], tta=True).look(pixels, np.ones((1, 1), bool))
    assert found.probability[0, 0] == pytest.approx(expit((1 - 3) / 4))
    each = expit([1, -1, -1, -1])
    assert found.uncertainty[0, 0] == pytest.approx(np.std(each))


def test_neighbours_turn_with_their_pixels():
    """A black patch left of a white one, by a model that sees only what is right of a patch: 2 of 8 views see it."""
    pixels = np.full((SIZE, 2 * SIZE, 3), 255, np.uint8)
    pixels[:, :SIZE] = 0
    found = Ensemble([corner(halo=1)], tta=True).look(pixels, np.ones((1, 2), bool))
    np.testing.assert_allclose(found.probability, [expit([-1 / 4, 1 / 4])], atol=1e-6)


@settings(max_examples=60)
@given(blocks(), st.sampled_from([0, 1]), st.integers(0, 7))
def test_what_eight_views_find_turns_with_the_block(block, halo, code):
    pixels, present = block
    ensemble = Ensemble([corner(halo), darkness(halo, temperature=2.0)], tta=True)
    found, turned = ensemble.look(*block), ensemble.look(symmetry(pixels, code), symmetry(present, code))
    for name in ("probability", "uncalibrated", "uncertainty"):
        expected = symmetry(getattr(found, name), code)
        np.testing.assert_allclose(getattr(turned, name), expected, atol=1e-6)
    np.testing.assert_array_equal(np.isnan(found.probability), ~present)


def test_one_view_does_not_turn_with_the_block():
    """Else the property above would hold of anything."""
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[0, 0] = 255
    present = np.ones((1, 1), bool)
    assert corner().block(pixels, present) != corner().block(symmetry(pixels, 1), present)


@settings(max_examples=60)
@given(blocks(), st.sampled_from([0, 1]), st.integers(1, 2))
def test_one_model_once_or_twice_is_the_model(block, halo, times):
    alone = corner(halo, temperature=1.3, threshold=0.2579)
    ensemble = Ensemble([alone] * times)
    found = ensemble.look(*block)
    np.testing.assert_array_equal(found.probability, alone.block(*block))
    np.testing.assert_array_equal(found.uncertainty, np.where(block[1], 0, np.nan))
    assert ensemble.threshold == 0.2579


def test_eight_views_of_a_model_that_does_not_see_direction_agree():
    rng = np.random.default_rng(0)
    pixels, present = rng.integers(0, 256, (3 * SIZE, 2 * SIZE, 3), dtype=np.uint8), np.ones((3, 2), bool)
    found = Ensemble([darkness(halo=1)], tta=True).look(pixels, present)
    np.testing.assert_allclose(found.probability, darkness(halo=1).block(pixels, present), atol=1e-6)
    np.testing.assert_allclose(found.uncertainty, 0, atol=1e-6)


@settings(max_examples=60)
@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4))
def test_a_patch_on_every_threshold_is_on_the_threshold(thresholds):
    found = Ensemble([darkness(threshold=t) for t in thresholds]).threshold
    logits = np.log(thresholds) - np.log1p(-np.array(thresholds))
    assert found == pytest.approx(expit(logits.mean()), abs=1e-6)


def test_thresholds_by_hand():
    assert Ensemble([darkness(threshold=0.2), darkness(threshold=0.8)]).threshold == 0.5
    # Odds of 1/4 and 1: their geometric mean is 1/2, which is a probability of 1/3.
    assert Ensemble([darkness(threshold=0.2), darkness(threshold=0.5)]).threshold == 0.333333


@pytest.mark.parametrize("other", [{"mpp": 0.5}, {"patch_size": 2 * SIZE}])
def test_models_of_different_scales_do_not_mix(other):
    predictor = Predictor(numpy_package(**({"patch_size": SIZE, "name": "other"} | other)), CornerEngine())
    with pytest.raises(ModelError, match=r"other takes patches of .* test of 4 px at 4 um/px; .* must agree"):
        Ensemble([corner(), predictor])
