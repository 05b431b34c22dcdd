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


ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {"separable_residual_cnn": separable_residual_cnn}
