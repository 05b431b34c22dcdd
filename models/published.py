"""Networks that others published for these patches, to be compared with our own: Keras 3, on any of its backends.

The contract is that of `wsi_idc.models.architectures`: uint8 RGB pixels in, scaled inside the network, and logits out.
The recipes are those of their authors; the accuracies that go with them come from patches split at random.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_idc.base.inputs.bounded import check_regular
from wsi_idc.errors import ModelError

if TYPE_CHECKING:
    import keras

# Where Keras has the convolutions trained on ImageNet, and their md5, by which it knows them too.
IMAGENET = {
    "vgg16": (
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
    "resnet50": (
        "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
        "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
}
# Mean blue, green and red of ImageNet, as keras.applications subtracts them in its "caffe" mode.
_IMAGENET_MEANS = (103.939, 116.779, 123.68)


def plain_cnn(patch_size: int = 50, widths: tuple[int, ...] = (32, 64, 128), dropout: float = 0.5) -> keras.Model:
    """Build the plain CNN of the public Keras repositories on these patches: convolution and pooling, then dense.

    Input: (n, patch_size, patch_size, 3) uint8, patch_size at least 2 ** len(widths). Output: (n, 1) float32 logits.
    They differ in details and cite no paper; this is a common form: 3x3 convolutions with ReLU, each pooled by 2, a
    dense layer of 256 and dropout.
    Recipe: Adagrad, as of `cancernet`.
    """
    import keras
    from keras import layers

    _check_size("plain_cnn", patch_size, 2 ** len(widths))
    inputs = keras.Input((patch_size, patch_size, 3), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 255, name="scaled")(inputs)
    for width in widths:
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dense(256, activation="relu")(layers.Flatten()(x))
    outputs = layers.Dense(1, dtype="float32", name="logits")(layers.Dropout(dropout)(x))
    return keras.Model(inputs, outputs, name="plain_cnn")


def cancernet(patch_size: int = 50, dropout: float = 0.5) -> keras.Model:
    """Build CancerNet (A. Rosebrock, "Breast cancer classification with Keras and deep learning", PyImageSearch 2019).

    Input: (n, patch_size, patch_size, 3) uint8, patch_size at least 8 (published at 48, resized). Output: (n, 1)
    float32 logits, where the original has a softmax over two classes. `dropout` is that before the logits.
    Recipe: Adagrad, learning rate 0.01 / (1 + 0.00025 * step), batches of 32, 40 epochs, binary cross-entropy with the
    classes weighted by their frequency; flips, rotations of 20 degrees, zoom 0.05, shifts of 0.1, shear 0.05.
    """
    import keras
    from keras import layers

    _check_size("cancernet", patch_size, 8)
    inputs = keras.Input((patch_size, patch_size, 3), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 255, name="scaled")(inputs)
    for width, repeats in ((32, 1), (64, 2), (128, 3)):
        for _ in range(repeats):
            x = layers.SeparableConv2D(width, 3, padding="same", activation="relu")(x)
            x = layers.BatchNormalization(axis=-1)(x)
        x = layers.Dropout(0.25)(layers.MaxPooling2D(2)(x))
    x = layers.Dense(256, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(dropout)(layers.BatchNormalization(axis=-1)(x))
    outputs = layers.Dense(1, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="cancernet")


def vgg16(patch_size: int = 50, weights: str | Path = "none", dropout: float = 0.5) -> keras.Model:
    """Build VGG16 (Simonyan and Zisserman 2015, arXiv:1409.1556) with average pooling and one logit on top.

    Input: (n, patch_size, patch_size, 3) uint8, patch_size at least 32. Output: (n, 1) float32 logits. The layer
    "vgg16" is the backbone. `weights` are "none", "imagenet", or a file with those of the backbone (.h5, .weights.h5
    or .keras, without the top); raises ModelError where they cannot be had or do not fit.
    Recipe: on ImageNet SGD, momentum 0.9, weight decay 0.0005, batches of 256, learning rate 0.01, divided by 10 when
    the validation accuracy stalls. On these patches, in a public repository: the backbone frozen at its ImageNet
    weights, SGD, momentum 0.9, learning rate 0.001, batches of 128, 25 epochs; flips and shifts of 0.1.
    """
    return _on_imagenet("vgg16", patch_size, weights, dropout)


def resnet50(patch_size: int = 50, weights: str | Path = "none", dropout: float = 0.5) -> keras.Model:
    """Build ResNet50 (He et al. 2016, arXiv:1512.03385) with average pooling and one logit on top.

    Input: (n, patch_size, patch_size, 3) uint8, patch_size at least 32. Output: (n, 1) float32 logits. The layer
    "resnet50" is the backbone. `weights` as of `vgg16`; raises ModelError where they cannot be had or do not fit.
    Recipe: on ImageNet SGD, momentum 0.9, weight decay 0.0001, batches of 256, learning rate 0.1, divided by 10 when
    the error stalls. On breast histology, in a public repository: the backbone frozen at its ImageNet weights, Adam,
    learning rate 0.001, batches of 32, 5 epochs.
    """
    return _on_imagenet("resnet50", patch_size, weights, dropout)


def _check_size(name: str, patch_size: int, minimum: int) -> None:
    if patch_size < minimum:
        raise ValueError(f"{name}: takes patches of {minimum} pixels or more, not of {patch_size}")


def _on_imagenet(name: str, patch_size: int, weights: str | Path, dropout: float) -> keras.Model:
    import keras
    from keras import layers

    _check_size(name, patch_size, 32)
    # The backbone alone, without the layers around it, so that files of its weights fit as Keras publishes them.
    build = {"vgg16": keras.applications.VGG16, "resnet50": keras.applications.ResNet50}[name]
    backbone = build(include_top=False, weights=None, input_shape=(patch_size, patch_size, 3))
    if weights == "imagenet":
        _load_weights(backbone, _imagenet_weights(name))
    elif weights != "none":
        _load_weights(backbone, Path(weights))
    inputs = keras.Input((patch_size, patch_size, 3), dtype="uint8", name="pixels")
    # What preprocess_input does, of an operation and a layer that Keras loads in safe mode: a Lambda is refused.
    x = keras.ops.flip(inputs, axis=-1)
    x = layers.Rescaling(1.0, offset=[-mean for mean in _IMAGENET_MEANS], name="scaled")(x)
    x = layers.GlobalAveragePooling2D()(backbone(x))
    outputs = layers.Dense(1, dtype="float32", name="logits")(layers.Dropout(dropout)(x))
    return keras.Model(inputs, outputs, name=f"{name}_classifier")


def _load_weights(backbone: Any, path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file of weights; give one that exists or take --weights none")
    try:
        with warnings.catch_warnings():
            # Of every layer that does not fit Keras warns, before it raises what says the same.
            warnings.simplefilter("ignore")
            check_regular(path)
            backbone.load_weights(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{path}: these are no weights of {backbone.name} without its top ({reason})") from error


def _imagenet_weights(name: str) -> Path:
    """Return the file of ImageNet weights in Keras's cache, downloaded before where it is not there.

    Not by `keras.utils.get_file`: it waits without limit, and makes a bare Exception of any failure.
    """
    url, md5 = IMAGENET[name]
    cached = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / url.rpartition("/")[2]
    try:
        if cached.is_file() and _md5(cached) == md5:
            return cached
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            arriving = Path(folder) / cached.name
            with urllib.request.urlopen(url, timeout=10) as reply, arriving.open("wb") as file:
                shutil.copyfileobj(reply, file)
            if _md5(arriving) != md5:
                raise OSError("what arrived is not what Keras published")
            arriving.replace(cached)
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(
            f"{name}: the ImageNet weights are neither in Keras's cache ({cached}) nor reachable ({error}); "
            "give a file by --weights FILE or take --weights none"
        ) from error
    return cached


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
