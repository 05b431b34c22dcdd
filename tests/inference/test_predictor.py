import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.base.setting import settings_of
from wsi_idc.errors import ModelError, PrecisionError
from wsi_idc.inference import openvino_engine
from wsi_idc.inference.choose import make_engine
from wsi_idc.inference.engines import ENGINES
from wsi_idc.inference.predictor import Predictor, slide_sums
from wsi_idc.models.registry import find_model
from wsi_idc.runs.settings import Settings

from helpers import NumpyEngine, numpy_package, summed_darkness, write_context_package


def engine(name, package):
    """Make an engine, or skip the test where this processor does not compute in its precision."""
    try:
        return make_engine(name, package)
    except PrecisionError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def context_package(tmp_path_factory):
    return write_context_package(tmp_path_factory.mktemp("models") / "context")


@pytest.fixture(scope="module")
def patches(section):
    """Patches of a painted section, and some noise: what the networks may meet."""
    h, w = (s // 50 * 50 for s in section.pixels.shape[:2])
    tiles = section.pixels[:h, :w].reshape(h // 50, 50, w // 50, 50, 3).swapaxes(1, 2).reshape(-1, 50, 50, 3)
    noise = np.random.default_rng(0).integers(0, 256, (30, 50, 50, 3), dtype=np.uint8)
    return np.concatenate([tiles, noise])


@pytest.mark.parametrize("model", ["idc-patch", "idc-context"])
@pytest.mark.parametrize("other", ["keras", "openvino"])
def test_engines_give_the_same_probabilities(patches, model, other):
    package = find_model(model)
    onnx, found = (Predictor(package, ENGINES[name](package)).patches(patches) for name in ("onnx", other))
    assert onnx.dtype == found.dtype == np.float32
    assert np.abs(onnx - found).max() <= 1e-4
    assert onnx.max() - onnx.min() > 0.5, "a model that always says the same would agree too"


@pytest.mark.parametrize(("other", "near"), [("keras", 1e-4), ("openvino", 1e-4), ("openvino-bf16", 0.03)])
def test_engines_agree_on_a_section_and_on_any_block_of_it(section, other, near):
    """The shipped model with its neighbours: ONNX Runtime, another, and blocks with the halo around them."""
    package = find_model()
    pixels = section.pixels[:600, :750]
    present = pixels.reshape(12, 50, 15, 50, 3).mean((1, 3, 4)) < 225
    onnx, found = (Predictor(package, engine(name, package)).block(pixels, present) for name in ("onnx", other))
    np.testing.assert_allclose(onnx, found, atol=near)
    assert np.nanmax(onnx) > 0.9
    assert np.nanmin(onnx) < 0.1
    predictor = Predictor(package, engine(other, package))
    features = predictor.features(pixels, present)
    part = predictor.calibrated(predictor.logits(features[:, :9], slide_sums(features)))
    np.testing.assert_allclose(part[:, :2], found[:, :2], atol=1e-6)
    other = predictor.probabilities(features[:, :9])
    assert np.nanmax(np.abs(other - part)) > 1e-4, "a part by itself is taken for a slide of its own"


@pytest.mark.parametrize("name", ["onnx", "keras", "openvino"])
def test_batch_size_does_not_change_probabilities(patches, name):
    package = find_model()
    results = []
    for size in (1, 7, 64):
        sized = type("Sized", (ENGINES[name],), {"batch_size": size})(package)
        results.append(Predictor(package, sized).patches(patches[:60]))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=1e-6)


@pytest.mark.parametrize("name", ["onnx", "keras", "openvino"])
def test_context_model_sees_present_neighbours_only(context_package, name):
    rng = np.random.default_rng(3)
    present = rng.random((6, 9)) > 0.4
    pixels = (rng.random((300, 450, 3)) * 255 * rng.random((300, 1, 1))).astype(np.uint8)
    found = Predictor(context_package, ENGINES[name](context_package)).block(pixels, present)
    np.testing.assert_allclose(found, summed_darkness(pixels, present), atol=1e-5)


def test_patches_of_a_context_model_have_no_neighbours():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 50, 50, 3), dtype=np.uint8)
    predictor = Predictor(numpy_package(halo=2), NumpyEngine(halo=2))
    alone = [summed_darkness(p, np.array([[True]]))[0, 0] for p in pixels]
    np.testing.assert_allclose(predictor.patches(pixels), alone, atol=1e-6)


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 4), st.floats(0.2, 5), st.integers(0, 2**32 - 1))
def test_block_is_its_patches_and_nan_elsewhere(rows, cols, temperature, seed):
    rng = np.random.default_rng(seed)
    present = rng.random((rows, cols)) > 0.5
    pixels = rng.integers(0, 256, (rows * 50, cols * 50, 3), dtype=np.uint8)
    predictor = Predictor(numpy_package(temperature=temperature), NumpyEngine(0, batch_size=2))
    found = predictor.block(pixels, present)
    assert (np.isnan(found) == ~present).all()
    for r, c in zip(*np.nonzero(present), strict=True):
        patch = pixels[r * 50 : r * 50 + 50, c * 50 : c * 50 + 50]
        logit = 1 - 2 * patch.mean() / 255
        assert found[r, c] == pytest.approx(1 / (1 + np.exp(-logit / temperature)), abs=1e-5)


def test_a_build_for_cuda_without_a_gpu_computes_on_all_cores(monkeypatch):
    """It falls back to the CPU, where large batches in one thread take many times as long."""
    from wsi_idc.inference import engines

    monkeypatch.setattr(engines, "onnx_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        engine = ENGINES["onnx"](find_model("idc-patch"), 3)
    assert (engine.batch_size, engine.lanes) == (8, 3)


def test_a_keras_that_runs_code_out_of_weights_is_refused(monkeypatch):
    import keras

    monkeypatch.setattr(keras, "__version__", "3.14.9")
    with pytest.raises(ModelError, match=r'Keras 3\.14\.9 can be made to run code .* pip install "keras>=3\.15"'):
        make_engine("keras", find_model("idc-patch"))


def test_the_engine_that_lacks_its_package_says_which_extra_has_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ModelError, match=r'engine keras: this needs keras, .* pip install "\.\[train\]", or take'):
        make_engine("keras", find_model("idc-patch"))


def test_openvino_tells_nobody_of_itself(tmp_path):
    """It comes with a package that sends each import to a web analytics service, and notes it in the home."""
    code = (
        "import sys; from wsi_idc.inference.openvino_engine import _openvino; _openvino().Core(); print(*sys.modules)"
    )
    environment = os.environ | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "openvino.tools.ovc" in done.stdout.split()
    assert not [name for name in done.stdout.split() if name.startswith("openvino_telemetry.")]
    assert not list(tmp_path.iterdir())


def test_a_processor_without_bfloat16_is_not_made_to_imitate_it(monkeypatch):
    core = SimpleNamespace(get_property=lambda device, name: ["FP32", "INT8"])
    monkeypatch.setattr(openvino_engine, "_openvino", lambda: SimpleNamespace(Core=lambda: core))
    with pytest.raises(PrecisionError, match=r"this processor does not compute in bf16; take --engine openvino$"):
        make_engine("openvino-bf16", find_model())


def test_settings_offer_every_engine():
    assert set(settings_of(Settings)["engine"].choices) == {"auto", *ENGINES}
