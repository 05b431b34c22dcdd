"""EfficientNet-Lite0 for small patches: pretrained features that stay cheap on a CPU."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from wsi_idc.base.inputs.packed import check_zip
from wsi_idc.errors import ModelError

if TYPE_CHECKING:
    import keras

# Bytes of weights, which are 13 MB.
_LARGEST = 1 << 28
# Kernel, strides, factor of expansion, width of each block (Tan and Le 2019; Lite: no squeeze-and-excitation, ReLU6).
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112))
_BLOCKS = [
    (kernel, strides if first == 0 else 1, expand, width)
    for count, kernel, strides, expand, width in _STAGES
    for first in range(count)
]


def efficientnet_lite0(
    patch_size: int = 50, weights: str | Path = "none", blocks: int = len(_BLOCKS), dropout: float = 0.3
) -> keras.Model:
    """Build a patch classifier on the first `blocks` (1 to 11) blocks of EfficientNet-Lite0.

    Input: (n, patch_size, patch_size, 3) uint8. Output: (n, 1) float32 logits of IDC. The stem has strides 1 in place
    of 2, as though the patch were enlarged twice: nuclei are 2 to 3 pixels wide at 4 um per pixel. `weights` is "none"
    or a file that `examples/imagenet_weights.py` wrote. Raises ModelError where it does not fit.
    """
    import keras
    from keras import layers

    if not 1 <= blocks <= len(_BLOCKS):
        raise ValueError(f"blocks: 1 to {len(_BLOCKS)}, not {blocks}")

    def normalized(x: keras.KerasTensor, name: str, active: bool = True) -> keras.KerasTensor:
        x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
        return layers.ReLU(max_value=6.0, name=f"{name}_relu")(x) if active else x

    inputs = keras.Input((patch_size, patch_size, 3), dtype="uint8", name="pixels")
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
    x = normalized(layers.Conv2D(32, 3, padding="same", use_bias=False, name="stem")(x), "stem")
    for number, (kernel, strides, expand, width) in enumerate(_BLOCKS[:blocks]):
        name, before = f"block{number}", x
        if expand > 1:
            x = layers.Conv2D(expand * x.shape[-1], 1, use_bias=False, name=f"{name}_expand")(x)
            x = normalized(x, f"{name}_expand")
        x = layers.DepthwiseConv2D(kernel, strides=strides, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
        x = normalized(x, f"{name}_depthwise")
        x = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project")(x)
        x = normalized(x, f"{name}_project", active=False)
        if strides == 1 and before.shape[-1] == width:
            x = layers.Add(name=f"{name}_add")([before, x])
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    outputs = layers.Dense(1, dtype="float32", name="logits")(x)
    model = keras.Model(inputs, outputs, name="efficientnet_lite0")
    if str(weights) != "none":
        _load(model, Path(weights))
    return model


def _load(model: keras.Model, path: Path) -> None:
    """Set the weights of every layer but the last from an npz of arrays named <layer>/<number>."""
    import numpy as np

    try:
        check_zip(path, _LARGEST)
        with np.load(path, allow_pickle=False) as held:
            for layer in model.layers:
                if layer.name != "logits" and layer.weights:
                    layer.set_weights([held[f"{layer.name}/{i}"] for i in range(len(layer.weights))])
    except (OSError, EOFError, KeyError, TypeError, ValueError, MemoryError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"{path}: does not hold weights of {model.name} ({reason}); see examples/imagenet_weights.py"
        ) from error
