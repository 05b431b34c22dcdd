"""What the encoder in 8-bit integers changes in what a model finally says of patches.

    python benchmarks/int8.py PATCHES [--model NAME] [--under section-jpeg-70-420]

PATCHES is a folder in the layout of the Kaggle set. ONNX Runtime quantises the encoder, weights by channel, with the
ranges that its values have on 768 patches of the train patients; the context network stays in single precision.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import onnxruntime as ort
from engine_agreement import table
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from models.package import ModelPackage, load_package
from models.registry import DEFAULT_MODEL, find_model
from wsi_idc.data.kaggle import index_patches, patients_in
from wsi_idc.data.split import official_split
from wsi_idc.data.store import open_patches
from wsi_idc.evaluation.perturb import PERTURBATIONS
from wsi_idc.inference.choose import make_engine
from wsi_idc.inference.ensemble import Ensemble
from wsi_idc.inference.predictor import Predictor

CALIBRATION, BATCH = 768, 32


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """Batches (32, side, side, 3) uint8 of patches, as the quantiser asks for them."""

    def __init__(self, name: str, pixels: np.ndarray) -> None:
        """Give `pixels` to the input `name`."""
        self._left: Iterator[dict[str, np.ndarray]] = (
            {name: pixels[start : start + BATCH]} for start in range(0, len(pixels), BATCH)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch, None after the last."""
        return next(self._left, None)


def quantised(package: ModelPackage, pixels: np.ndarray, place: Path) -> ModelPackage:
    """Copy a package to `place`, its encoder quantised on `pixels` (n, side, side, 3)."""
    shutil.copytree(package.folder, place)
    document = json.loads((place / "model.json").read_text())
    weights = document["networks"]["encoder"]["onnx"]
    encoder, prepared = place / weights["file"], place / "prepared.onnx"
    quant_pre_process(str(encoder), str(prepared), skip_symbolic_shape=True)
    name = ort.InferenceSession(str(encoder)).get_inputs()[0].name
    quantize_static(
        str(prepared), str(encoder), Batches(name, pixels), per_channel=True, activation_type=QuantType.QUInt8
    )
    weights["sha256"] = hashlib.sha256(encoder.read_bytes()).hexdigest()
    (place / "model.json").write_text(json.dumps(document))
    return load_package(place)


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--under", multiple=True, type=click.Choice(list(PERTURBATIONS)))
def main(data: Path, model: str, under: tuple[str, ...]) -> None:
    """Print a Markdown table, of the validation patients."""
    package = find_model(model)
    split = official_split(patients_in(data))
    with tempfile.TemporaryDirectory() as work:
        train = open_patches(index_patches(data, set(split["train"])), package.patch_size, Path(work))
        chosen = np.sort(np.random.default_rng(0).choice(len(train), CALIBRATION, replace=False))
        small = quantised(package, np.asarray(train.pixels[chosen]), Path(work) / "int8")
        engines = {
            name: Ensemble([Predictor(one, make_engine("onnx", one))])
            for name, one in (("onnx", package), ("onnx, int8", small))
        }
        table(index_patches(data, set(split["val"])), engines, under, package.threshold)


if __name__ == "__main__":
    main()
