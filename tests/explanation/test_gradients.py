"""Grad-CAM and shares against a network whose gradients are known, on both backends whose gradients are taken."""

import os
import subprocess
import sys

import numpy as np
import pytest

from wsi_idc.errors import MissingExtraError, ModelError, SettingsError
from wsi_idc.explanation.gradients import LayerMaps, Network
from wsi_idc.models.registry import find_model

from helpers import numpy_package, write_unchecked_package


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A network of two blocks whose logit is 2 * mean(a) - 3 * mean(b) of four maps that copy and turn the pixels."""
    import keras
    from keras import layers

    pixels = keras.Input((50, 50, 3), dtype="uint8", name="pixels")
    copied = layers.Conv2D(4, 1, use_bias=False, name="copied")
    pooled = layers.AveragePooling2D(5, name="pooled")
    last = layers.Dense(1, use_bias=False, name="logit")
    x = pooled(copied(layers.Rescaling(1 / 255)(pixels)))
    network = keras.Model(pixels, last(layers.GlobalAveragePooling2D()(x)))
    copied.set_weights([np.array([[[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]]], np.float32)])
    last.set_weights([np.array([[2], [-3], [0], [0]], np.float32)])
    return write_unchecked_package(tmp_path_factory.mktemp("known") / "model", network)


def patch():
    pixels = np.zeros((50, 50, 3), np.uint8)
    pixels[:25, :, 0] = 255
    pixels[:, 25:, 1] = 255
    return pixels


def test_grad_cam_and_shares_are_those_of_the_gradient(known):
    network = Network(known, ["pooled"])
    logit, (found,) = network.look(patch())
    assert logit == pytest.approx(2 * 0.5 - 3 * 0.5, abs=1e-4)
    assert found.maps.shape == (10, 10, 4)
    # The gradient of the mean of 100 cells is a hundredth in each: 2 for red, -3 for green.
    expected = np.maximum((2 * found.maps[..., 0] - 3 * found.maps[..., 1]) / 100, 0)
    np.testing.assert_allclose(found.cam, expected, atol=1e-6)
    np.testing.assert_allclose(found.shares, [2 * 0.5, -3 * 0.5, 0, 0], atol=1e-5)
    assert found.cam[0, 0] > 0 and found.cam[0, -1] == found.cam[-1, 0] == 0


def test_shares_add_up_to_the_logit_where_it_is_linear(known):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8)
    logit = 2 * pixels[..., 0].mean() / 255 - 3 * pixels[..., 1].mean() / 255
    for found in Network(known, ["copied", "pooled"]).look(pixels)[1]:
        assert found.shares.sum() == pytest.approx(logit, abs=1e-4)


def test_layers_are_the_ends_of_the_last_blocks_by_default_and_a_wrong_name_lists_them(known):
    assert Network(known).layers == ("copied", "pooled")
    assert Network(find_model("idc-patch")).layers == ("activation_4", "activation_6")
    with pytest.raises(SettingsError, match=r"no layer 'nothing' with feature maps; it has copied, pooled$"):
        Network(known, ["nothing"])
    with pytest.raises(SettingsError, match="no layer 'logit'"):
        Network(known, ["logit"])


def test_a_context_model_is_explained_by_the_logit_that_it_gives_a_patch_alone():
    from wsi_idc.inference.engines import OnnxEngine
    from wsi_idc.inference.predictor import Predictor

    package = find_model("idc-context")
    network = Network(package, ["block10_add"])
    pixels = np.random.default_rng(3).integers(90, 220, (50, 50, 3)).astype(np.uint8)
    predictor = Predictor(package, OnnxEngine(package))
    expected = predictor.logits(predictor.encode(pixels[None])[:, None])[0, 0]
    logit, (found,) = network.look(pixels)
    assert logit == pytest.approx(float(expected), abs=1e-3)
    assert found.cam.shape == (7, 7) and np.abs(found.shares).sum() > 0


def test_without_keras_the_way_out_needs_no_index(known, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match=r'in the folder of wsi-idc\'s source: pip install "\.\[train\]"'):
        Network(known)


def test_a_package_without_keras_weights_says_so():
    with pytest.raises(ModelError, match="none: has no Keras weights"):
        Network(numpy_package())


@pytest.mark.parametrize(("backend", "said"), [("torch", "same"), ("jax", "KERAS_BACKEND to tensorflow or torch")])
def test_torch_gives_the_same_and_jax_says_what_is_needed(known, backend, said, tmp_path):
    pytest.importorskip(backend)
    np.save(tmp_path / "patch.npy", patch())
    code = f"""
import numpy as np, sys
from pathlib import Path
from wsi_idc.errors import ModelError
from wsi_idc.explanation.gradients import Network
from wsi_idc.models.package import load_package
try:
    found = Network(load_package(Path({str(known.folder)!r}))).look(np.load({str(tmp_path / "patch.npy")!r}))[1]
except ModelError as error:
    sys.exit(str(error))
np.savez({str(tmp_path / "found.npz")!r}, *[v for one in found for v in (one.maps, one.cam, one.shares)])
"""
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if said != "same":
        assert done.returncode == 1 and said in done.stderr
        return
    assert done.returncode == 0, done.stderr
    expected = [v for one in Network(known).look(patch())[1] for v in (one.maps, one.cam, one.shares)]
    for one, other in zip(np.load(tmp_path / "found.npz").values(), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_grad_cam_leaves_out_what_is_below_zero():
    maps = np.ones((2, 2, 1), np.float32)
    assert not LayerMaps.of("x", maps, -maps).cam.any()
