"""Occlusion finds the part of a patch that a logit comes from."""

import numpy as np
import pytest

from wsi_idc.errors import DataError, ModelError
from wsi_idc.explanation.occlusion import WINDOW, occlusion_map
from wsi_idc.explanation.patch import Subject, explain_patch, what_is_explained
from wsi_idc.inference.predictor import Predictor

from helpers import NumpyEngine, numpy_package


def spotted(side=50):
    pixels = np.full((side, side, 3), 200, np.uint8)
    pixels[10:18, 30:38] = 0
    return pixels


def darkness(pixels):
    return 1 - 2 * pixels.mean((1, 2, 3)) / 255


def test_what_the_logit_comes_from_stands_out():
    found = occlusion_map(darkness, spotted())
    assert found.shape == (50, 50) and found.dtype == np.float32
    # Covered by the mean, the dark spot is gone; elsewhere a little brightness is.
    assert found[13:15, 33:35].min() > 0.5 * found.max() > 0
    assert found[:2].max() <= 0 and found[40:].max() <= 0
    whole = spotted()
    whole[10:18, 30:38] = np.rint(spotted().mean((0, 1)))
    fall = darkness(spotted()[None])[0] - darkness(whole[None])[0]
    assert found.max() <= fall + 1e-6


@pytest.mark.parametrize("side", [5, WINDOW, 9, 51])
def test_every_pixel_is_covered_whatever_the_side(side):
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3)).astype(np.uint8)
    assert np.isfinite(occlusion_map(darkness, pixels)).all()


def test_a_patch_of_one_colour_has_no_part_that_matters():
    assert not occlusion_map(darkness, np.full((50, 50, 3), 120, np.uint8)).any()


@pytest.mark.parametrize("halo", [0, 2])
def test_a_patch_is_looked_at_alone(halo):
    package = numpy_package(halo=halo, temperature=2.0)
    predictor = Predictor(package, NumpyEngine(halo))
    found = explain_patch(predictor, None, Subject("a.png", spotted()))
    assert found.probability == pytest.approx(float(predictor.patches(spotted()[None])[0]))
    assert found.logit == pytest.approx(darkness(spotted()[None])[0], abs=1e-5)
    assert ("neighbours" in what_is_explained(package)) == bool(halo)
    facts = found.facts("01-a.png", 0.5)
    assert facts["x"] is None and facts["idc"] is (found.probability >= 0.5)


def test_maps_of_another_network_are_refused():
    class Other:
        def look(self, pixels):
            return 3.0, []

    predictor = Predictor(numpy_package(), NumpyEngine(0))
    with pytest.raises(ModelError, match=r"its Keras weights give a\.png the logit 3, those that numpy computes with"):
        explain_patch(predictor, Other(), Subject("a.png", spotted()))


def test_a_model_that_gives_no_number_is_an_error():
    class Lost(NumpyEngine):
        def run(self, network, *inputs):
            found = super().run(network, *inputs)
            # Of patches that are covered somewhere; the first look, at zeros, is that of the predictor itself.
            return np.where(inputs[0].mean((1, 2, 3))[:, None] > 195, np.nan, found)

    predictor = Predictor(numpy_package(), Lost(0))
    with pytest.raises(DataError, match=r"^a\.png: test gives no number for this patch"):
        explain_patch(predictor, None, Subject("a.png", spotted()))
