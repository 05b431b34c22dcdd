"""Write a trained network as a model package: weights for every engine, and model.json with their checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from wsi_idc.errors import ModelError
from wsi_idc.inference import ENGINES, Predictor
from wsi_idc.models.package import ModelPackage, load_package


def write_package(folder: Path, facts: Mapping[str, Any], networks: Mapping[str, keras.Model]) -> ModelPackage:
    """Export `networks` ("encoder", maybe "context") as .keras and .onnx into `folder` and describe them.

    `facts` are the fields of model.json that the weights do not tell (see models/model.schema.json). The folder
    appears whole or not at all, and only if it can be read back and both engines agree on it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        place = Path(temporary) / "package"
        place.mkdir()
        files: dict[str, dict[str, dict[str, str]]] = {}
        for name, trained in networks.items():
            # A copy leaves the state of the optimizer behind, three times the size of the weights.
            network = trained.__class__.from_config(trained.get_config())
            network.set_weights(trained.get_weights())
            # Keras exports only what was called once.
            inputs = [keras.ops.zeros([side or 1 for side in i.shape], i.dtype) for i in network.inputs]
            network(inputs if len(inputs) > 1 else inputs[0])
            network.save(place / f"{name}.keras")
            network.export(place / f"{name}.onnx", format="onnx", verbose=False)
            files[name] = {
                form: {
                    "file": f"{name}.{form}",
                    "sha256": hashlib.sha256((place / f"{name}.{form}").read_bytes()).hexdigest(),
                }
                for form in ("keras", "onnx")
            }
        document = {
            "format": "wsi-idc-model",
            "format_version": 1,
            **facts,
            "preprocessing": {"input": "uint8 RGB, NHWC", "scaling": "inside the network"},
            "networks": files,
        }
        (place / "model.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        _compare_engines(load_package(place))
        if folder.exists():
            shutil.rmtree(folder)
        place.rename(folder)
    return load_package(folder)


def _compare_engines(package: ModelPackage, tolerance: float = 1e-4) -> None:
    """Raise ModelError where ONNX Runtime and Keras do not agree on what the package computes.

    Forms are compared as well as values: tf2onnx 1.17 at times gives convolutions of one channel a dimension too many.
    """
    rng = np.random.default_rng(0)
    side = 2 * package.halo + 3
    present = rng.random((side, side)) < 0.8
    pixels = rng.integers(0, 256, (side * package.patch_size, side * package.patch_size, 3), dtype=np.uint8)
    onnx, keras_ = (Predictor(package, engine(package)).block(pixels, present) for engine in ENGINES.values())
    if onnx.shape != keras_.shape or not np.nanmax(np.abs(onnx - keras_)) <= tolerance:
        raise ModelError(f"{package.name}: exported to ONNX it gives other probabilities than in Keras")
