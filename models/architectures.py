"""Networks by name, written in backend-neutral Keras 3.

Each takes uint8 RGB pixels as they come from the slide and does its own scaling, so that no caller can get the
preprocessing wrong, and ends in logits, so that a temperature can be fitted and applied outside.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wsi_idc.errors import ModelError
from wsi_idc.models.efficientnet_lite import efficientnet_lite0
from wsi_idc.models.published import cancernet, plain_cnn, resnet50, vgg16

if TYPE_CHECKING:
    import keras
    import numpy as np

# How many patches a slide must show before its own mean counts as much as that of typical slides.
_TYPICAL_PATCHES = 16.0


def separable_residual_cnn(
    patch_size: int = 50, widths: tuple[int, ...] = (48, 96, 192, 384), dropout: float = 0.3
) -> keras.Model:
    """Build a small patch classifier of depthwise-separable residual blocks (after Xception, Chollet 2017).

    Input: (n, patch_size, patch_size, 3) uint8. Output: (n, 1) float32 logits of IDC. Every block halves the sides.
    """
    import keras
    from keras import layers

    inputs = keras.Input((patch_size, patch_size, 3), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = layers.Conv2D(widths[0], 5, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("relu")(x)
    for width in widths[1:]:
        shortcut = layers.Conv2D(width, 1, strides=2, padding="same", use_bias=False)(x)
        shortcut = layers.BatchNormalization()(shortcut)
        for step in range(2):
            if step:
                x = layers.Activation("relu")(x)
            x = layers.SeparableConv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = layers.Activation("relu")(layers.Add()([x, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    outputs = layers.Dense(1, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="separable_residual_cnn")


def residual_cnn(
    patch_size: int = 50, widths: tuple[int, ...] = (32, 64, 128, 256), dropout: float = 0.3
) -> keras.Model:
    """Build a small patch classifier of plain residual blocks (after ResNet-10, He et al. 2016).

    Input: (n, patch_size, patch_size, 3) uint8. Output: (n, 1) float32 logits of IDC. The stem and every block but the
    first halve the sides. On a CPU its dense convolutions train about twice as fast as separable ones of that depth.
    """
    import keras
    from keras import layers

    def convolution(x: keras.KerasTensor, width: int, side: int = 3, strides: int = 1) -> keras.KerasTensor:
        x = layers.Conv2D(width, side, strides=strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    inputs = keras.Input((patch_size, patch_size, 3), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = layers.Activation("relu")(convolution(x, widths[0], side=5, strides=2))
    for number, width in enumerate(widths):
        strides = 2 if number else 1
        shortcut = convolution(x, width, side=1, strides=strides) if number else x
        y = layers.Activation("relu")(convolution(x, width, strides=strides))
        x = layers.Activation("relu")(layers.Add()([convolution(y, width), shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    outputs = layers.Dense(1, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="residual_cnn")


def feature_encoder(classifier: keras.Model) -> keras.Model:
    """Turn a patch classifier into the encoder of a context model.

    Output: (n, f + 1) float32: what the classifier pools before its last layer, and its logit as the last feature.
    """
    import keras
    from keras import layers

    pooled = [v.output for v in classifier.layers if isinstance(v, layers.GlobalAveragePooling2D)]
    if len(pooled) != 1:
        raise ModelError(f"{classifier.name}: pools no features; a context network needs an architecture that does")
    return keras.Model(classifier.input, layers.Concatenate()([*pooled, classifier.output]), name="encoder")


def context_network(
    features: int,
    width: int = 64,
    dilations: tuple[int, ...] = (1, 2, 4),
    dropout: float = 0.2,
    typical: np.ndarray | None = None,
) -> keras.Model:
    """Build a network that looks at the neighbours of a patch: dilated convolutions on the grid of patch features.

    Inputs: features (b, r, c, features) float32, the last one the patch's own logit; present (b, r, c, 1), 1 where
    there is a patch; slide (b, features + 1), the sum of the features of the slide's patches, then their number.
    Output: (b, r, c, 1) logits. Slides differ in stain and scanner, which moves all their features alike: what the
    network sees is how far a patch is from the mean of its slide, drawn to `typical` (features,), 0 by default, by as
    much as `_TYPICAL_PATCHES` patches would, so that a slide of which little is known is taken for a typical one. It
    begins as the patch's own logit, half of it centred, and learns what neighbours add; patches that are absent are
    masked in every layer. It sees sum(dilations) patches in each direction.
    """
    import keras
    import numpy as np
    from keras import layers

    inputs = keras.Input((None, None, features), name="features")
    present = keras.Input((None, None, 1), name="present")
    slide = keras.Input((features + 1,), name="slide")
    count = slide[:, -1:]
    held = layers.Dense(features, use_bias=False, kernel_initializer="zeros", trainable=False, name="typical")
    mean = (slide[:, :-1] + held(_TYPICAL_PATCHES * keras.ops.ones_like(count))) / (count + _TYPICAL_PATCHES)
    centred = inputs - mean[:, None, None, :]
    x = layers.Dense(width)(layers.Dropout(dropout)(centred))
    x = layers.Activation("silu")(layers.LayerNormalization()(x))
    x = layers.Multiply()([x, present])
    for dilation in dilations:
        y = layers.Concatenate()([x, present])
        y = layers.Conv2D(width, 3, padding="same", dilation_rate=dilation)(y)
        y = layers.Activation("silu")(layers.LayerNormalization()(y))
        y = layers.Conv2D(width, 1)(layers.Dropout(dropout)(y))
        x = layers.Multiply()([layers.Add()([x, y]), present])
    own = layers.Dense(1, use_bias=False, name="own")
    # Not a 1x1 convolution, which would be the same: tf2onnx at times exports one of a single channel wrongly.
    added = layers.Dense(1, kernel_initializer="zeros", name="added")
    logits = layers.Add(name="logits")([own(layers.Concatenate()([centred, inputs[..., -1:]])), added(x)])
    model = keras.Model([inputs, present, slide], logits, name="context")
    if typical is not None:
        held.set_weights([typical[None]])
    own.set_weights([np.append(np.zeros(features - 1), [0.5, 0.5])[:, None]])
    return model


def context_mean(members: Sequence[keras.Model]) -> keras.Model:
    """Join context networks of the same inputs into one, whose logits are the mean of theirs."""
    import keras
    from keras import layers

    inputs = [keras.Input(v.shape[1:], name=v.name) for v in members[0].inputs]
    for number, member in enumerate(members):
        member.name = f"member{number}"
    logits = layers.Average(name="logits")([member(inputs) for member in members])
    return keras.Model(inputs, logits, name="context")


def context_halo(model: keras.Model) -> int:
    """Return how many patches in each direction a context network, or the mean of several, looks at."""
    import keras
    from keras import layers

    reach = [v.dilation_rate[0] * (v.kernel_size[0] // 2) for v in model.layers if isinstance(v, layers.Conv2D)]
    return max([sum(reach), *(context_halo(v) for v in model.layers if isinstance(v, keras.Model))])


ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "separable_residual_cnn": separable_residual_cnn,
    "residual_cnn": residual_cnn,
    "plain_cnn": plain_cnn,
    "cancernet": cancernet,
    "vgg16": vgg16,
    "resnet50": resnet50,
    "efficientnet_lite0": efficientnet_lite0,
}


def check_build(name: str, weights: str, options: Mapping[str, Any]) -> None:
    """Raise ModelError, naming what there is, for an unknown name or option; loads no Keras."""
    if name not in ARCHITECTURES:
        raise ModelError(f"{name}: no such architecture; there are {', '.join(ARCHITECTURES)}")
    known = list(inspect.signature(ARCHITECTURES[name]).parameters)
    if weights != "none" and "weights" not in known:
        raise ModelError(f"{name}: has no published weights; take weights none")
    if unknown := set(options) - set(known):
        raise ModelError(f"{name}: has no option {', '.join(sorted(unknown))}, but {', '.join(known)}")


def build(name: str, weights: str = "none", **options: Any) -> keras.Model:
    """Build a patch classifier by name; `options` are what its builder takes.

    Raises ModelError as `check_build` does, and where `weights` cannot be had.
    """
    check_build(name, weights, options)
    builder = ARCHITECTURES[name]
    if weights != "none":
        options["weights"] = weights
    try:
        return builder(**options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name}: cannot be built with {options} ({error})") from error
