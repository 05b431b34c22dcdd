"""Networks by name, written in backend-neutral Keras 3.

Each takes uint8 RGB pixels as they come from the slide and does its own scaling, so that no caller can get the
preprocessing wrong, and ends in logits, so that a temperature can be fitted and applied outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


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


def feature_encoder(classifier: keras.Model) -> keras.Model:
    """Turn a patch classifier into the encoder of a context model.

    Output: (n, f + 1) float32: what the classifier pools before its last layer, and its logit as the last feature.
    """
    import keras
    from keras import layers

    pooled = next(v.output for v in classifier.layers if isinstance(v, layers.GlobalAveragePooling2D))
    return keras.Model(classifier.input, layers.Concatenate()([pooled, classifier.output]), name="encoder")


def context_network(
    features: int, width: int = 64, dilations: tuple[int, ...] = (1, 2, 4), dropout: float = 0.2
) -> keras.Model:
    """Build a network that looks at the neighbours of a patch: dilated convolutions on the grid of patch features.

    Inputs: features (b, r, c, features) float32, the last one the patch's own logit, and present (b, r, c, 1), 1 where
    there is a patch. Output: (b, r, c, 1) logits. It begins as the patch's own logit and learns what neighbours add;
    patches that are absent are masked in every layer. It sees sum(dilations) patches in each direction.
    """
    import keras
    import numpy as np
    from keras import layers

    inputs = keras.Input((None, None, features), name="features")
    present = keras.Input((None, None, 1), name="present")
    x = layers.Dense(width)(layers.Dropout(dropout)(inputs))
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
    model = keras.Model([inputs, present], layers.Add(name="logits")([own(inputs), added(x)]), name="context")
    own.set_weights([np.eye(features, dtype=np.float32)[:, -1:]])
    return model


ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {"separable_residual_cnn": separable_residual_cnn}
