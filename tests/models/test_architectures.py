import functools
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wsi_idc.errors import ModelError
from wsi_idc.models import published
from wsi_idc.models.architectures import ARCHITECTURES, context_network, separable_residual_cnn

PUBLISHED = ["plain_cnn", "cancernet", "vgg16", "resnet50"]
LARGE = ["vgg16", "resnet50"]
SMALL = [name for name in ARCHITECTURES if name not in LARGE]


@functools.cache
def network(name, patch_size=50):
    """A network that tests share, and so must not train."""
    import keras

    keras.utils.set_random_seed(0)
    return ARCHITECTURES[name](patch_size)


def noise(n, patch_size):
    return np.random.default_rng(0).integers(0, 256, (n, patch_size, patch_size, 3), dtype=np.uint8)


def dark_and_bright(n, patch_size):
    """Patches that are dark and IDC, or bright and not."""
    labels = np.arange(n) % 2
    pixels = noise(n, patch_size) // 3 + 170 * (1 - labels)[:, None, None, None].astype(np.uint8)
    return pixels, labels[:, None].astype(np.float32)


def outputs(model, pixels):
    import keras

    # Called, not predicted: that would compile each network first.
    return keras.ops.convert_to_numpy(model(pixels))


def compiled(model, optimizer, **options):
    import keras

    model.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True), **options)
    return model


@pytest.mark.parametrize("patch_size", [50, 64])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_pixels_to_logits(name, patch_size):
    model = network(name, patch_size)
    assert model.input.shape == (None, patch_size, patch_size, 3)
    assert model.input.dtype == "uint8"
    logits = outputs(model, noise(3, patch_size))
    assert logits.shape == (3, 1)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(("name", "minimum"), [("plain_cnn", 8), ("cancernet", 8), ("vgg16", 32), ("resnet50", 32)])
def test_the_smallest_patches(name, minimum):
    assert ARCHITECTURES[name](minimum).output.shape == (None, 1)
    with pytest.raises(ValueError, match=f"{name}: takes patches of {minimum} pixels or more, not of {minimum - 1}"):
        ARCHITECTURES[name](minimum - 1)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # Convolutions with biases of 3-32-64-128, 6 x 6 x 128 to 256, 256 to 1.
        ("plain_cnn", 896 + 18_496 + 73_856 + 1_179_904 + 257),
        # Separable convolutions, normalised by 4 numbers a channel, then as above, normalised.
        ("cancernet", 155 + 2_400 + 4_736 + 8_896 + 2 * 17_664 + 4 * (32 + 2 * 64 + 3 * 128 + 256) + 1_179_904 + 257),
        # Counts that Keras documents for the backbones without top, and the logit of 512 and 2048 features.
        ("vgg16", 14_714_688 + 513),
        ("resnet50", 23_587_712 + 2_049),
    ],
)
def test_number_of_weights_as_published(name, count):
    assert network(name).count_params() == count


@pytest.mark.parametrize("name", PUBLISHED)
def test_preprocessing_is_inside(name):
    import keras

    pixels = noise(2, 50)
    if name in LARGE:
        expected = getattr(keras.applications, name).preprocess_input(pixels.astype(np.float32))
    else:
        expected = pixels / np.float32(255)
    model = network(name)
    scaled = outputs(keras.Model(model.input, model.get_layer("scaled").output), pixels)
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_learn_dark_from_bright(name):
    import keras

    keras.utils.set_random_seed(0)
    model = compiled(ARCHITECTURES[name](32), keras.optimizers.Adam(1e-3), jit_compile=False)
    pixels, labels = dark_and_bright(16, 32)
    losses = [float(model.train_on_batch(pixels, labels)) for _ in range(16)]
    assert losses[-1] < losses[0] / 4


@pytest.mark.parametrize("name", LARGE)
def test_one_step_changes_every_weight_of_the_large_ones(name):
    import keras

    keras.utils.set_random_seed(0)
    model = compiled(ARCHITECTURES[name](32), keras.optimizers.SGD(1e-2), run_eagerly=True)
    before = [keras.ops.convert_to_numpy(w).copy() for w in model.trainable_weights]
    assert np.isfinite(model.train_on_batch(*dark_and_bright(4, 32)))
    assert not any(np.array_equal(a, b) for a, b in zip(before, model.trainable_weights, strict=True))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_saved_and_loaded_safely(name, tmp_path):
    import keras

    network(name).save(tmp_path / "saved.keras")
    loaded = keras.saving.load_model(tmp_path / "saved.keras", safe_mode=True)
    pixels = noise(3, 50)
    np.testing.assert_allclose(outputs(loaded, pixels), outputs(network(name), pixels), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["plain_cnn", "cancernet", "vgg16"])
def test_exported_to_onnx(name, tmp_path):
    import onnxruntime

    model, pixels = network(name), noise(3, 50)
    logits = outputs(model, pixels)
    model.export(tmp_path / "exported.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "exported.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: pixels})
    np.testing.assert_allclose(found, logits, rtol=0, atol=1e-4)


def starts():
    """The networks that are compared between backends, without dropout, and a batch for each.

    Few small patches: in many, some values are so near to the kink of a ReLU, or to each other under a maximum, that
    rounding decides where their gradients go.
    """
    rng = np.random.default_rng(2)
    features = rng.normal(size=(2, 6, 5, 9)).astype(np.float32)
    present = (rng.random((2, 6, 5, 1)) < 0.8).astype(np.float32)
    slide = np.append((features * present).sum((1, 2)), present.sum((1, 2)), axis=1)
    outlines = rng.integers(0, 2, (2, 6, 5, 1)).astype(np.float32)
    return {
        "patches": (separable_residual_cnn(16, widths=(48, 96), dropout=0.0), *dark_and_bright(4, 16)),
        "context": (context_network(9, dilations=(1, 2), dropout=0.0), [features * present, present, slide], outlines),
    }


def step(folder):
    """Take a step of training from the weights in `folder` and write there, for this backend, where it leads."""
    import keras

    for name, (model, inputs, labels) in starts().items():
        with np.load(folder / f"{name}.npz") as weights:
            model.set_weights(list(weights.values()))
        loss = compiled(model, keras.optimizers.SGD(1.0)).train_on_batch(inputs, labels)
        np.savez(folder / f"{name}-{keras.backend.backend()}.npz", np.array(loss), *model.get_weights())


def test_a_training_step_on_jax_is_the_same(tmp_path):
    import keras

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(3)
    networks = {name: model for name, (model, _, _) in starts().items()}
    for name, model in networks.items():
        # Off the zeros that some layers start from, which keep gradients from those before.
        weights = [w + rng.uniform(0, 0.02, w.shape).astype(np.float32) for w in model.get_weights()]
        np.savez(tmp_path / f"{name}.npz", *weights)
    step(tmp_path)
    program = "import sys, pathlib, test_architectures as t; t.step(pathlib.Path(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parent,
        check=True,
    )
    for name in networks:
        with (
            np.load(tmp_path / f"{name}.npz") as start,
            np.load(tmp_path / f"{name}-{keras.backend.backend()}.npz") as here,
            np.load(tmp_path / f"{name}-jax.npz") as jax,
        ):
            for key, expected in enumerate(here.values()):
                np.testing.assert_allclose(jax[f"arr_{key}"], expected, rtol=0, atol=3e-5)
            # It says something only of weights that the step moved much farther than that.
            held = [weight.path.endswith("typical/kernel") for weight in networks[name].weights]
            for key, before in enumerate(start.values(), 1):
                if held[key - 1]:
                    continue
                assert np.abs(here[f"arr_{key}"] - before).max() > 1e-4


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No network, and a cache of Keras's that is empty; returns where it keeps weights."""

    def refuse(*_args, **_options):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", refuse)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights of the backbone of `network("vgg16")`, in the forms that Keras writes."""
    folder = tmp_path_factory.mktemp("weights")
    backbone = network("vgg16").get_layer("vgg16")
    backbone.save_weights(folder / "vgg16.weights.h5")
    backbone.save(folder / "vgg16.keras")
    backbone.save(folder / "vgg16.h5")
    return folder


def has_weights_of_network(model):
    pairs = zip(*(m.get_layer("vgg16").get_weights() for m in (model, network("vgg16"))), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", ["vgg16.weights.h5", "vgg16.keras", "vgg16.h5"])
def test_weights_from_a_file(files, name):
    assert has_weights_of_network(published.vgg16(weights=str(files / name)))


def test_weights_of_another_network(files):
    with pytest.raises(
        ModelError, match=r"vgg16\.weights\.h5: these are no weights of resnet50 without its top \(.*\)$"
    ):
        published.resnet50(weights=files / "vgg16.weights.h5")


@pytest.mark.parametrize("name", ["junk.h5", "junk.weights.h5", "junk.keras", "junk.txt"])
def test_files_that_are_no_weights(tmp_path, name):
    (tmp_path / name).write_bytes(b"junk")
    with pytest.raises(ModelError, match=f"{name}: these are no weights of vgg16"):
        published.vgg16(weights=tmp_path / name)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(ModelError, match=r"nothing\.h5: there is no such file of weights; .* --weights none$"):
        published.vgg16(weights=str(tmp_path / "nothing.h5"))


@pytest.mark.parametrize("name", LARGE)
def test_imagenet_offline(offline, name):
    with pytest.raises(ModelError) as caught:
        ARCHITECTURES[name](weights="imagenet")
    message = str(caught.value)
    assert message.startswith(f"{name}: the ImageNet weights are neither in Keras's cache ({offline}")
    assert message.endswith("give a file by --weights FILE or take --weights none")
    assert "\n" not in message
    assert not list(offline.iterdir())


def test_imagenet_is_fetched_once_and_checked(offline, files, tmp_path, monkeypatch):
    source = Path(shutil.copy(files / "vgg16.h5", tmp_path / "published.h5"))
    monkeypatch.setitem(published.IMAGENET, "vgg16", (source.as_uri(), hashlib.md5(source.read_bytes()).hexdigest()))
    assert has_weights_of_network(published.vgg16(weights="imagenet"))
    source.unlink()
    assert has_weights_of_network(published.vgg16(weights="imagenet"))
    (offline / "published.h5").write_bytes(b"damaged")
    source.write_bytes(b"another")
    with pytest.raises(ModelError, match="what arrived is not what Keras published"):
        published.vgg16(weights="imagenet")
    assert [path.name for path in offline.iterdir()] == ["published.h5"]
