"""Patches per second of the models that ship, context included, beside the small separable patch CNN.

    python benchmarks/model_speed.py [--repeat 3] [--json FILE]

ONNX Runtime at its default batch, each model in a process of its own, taking turns; ratios are to the small CNN
(`separable_residual_cnn`, 0.4 million weights, fresh: speed does not depend on what it has learnt).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from wsi_idc.inference.engines import OnnxEngine
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.architectures import build
from wsi_idc.models.registry import find_model, list_models

SIDE = 32  # patches
# What a package states beside its network; none of it is measured here.
FACTS = ("version", "description", "licence", "mpp", "patch_size", "classes")
FACTS += ("threshold", "temperature", "training_data")


def rate(model: str) -> float:
    """Measure the patches per second of blocks of the grid, in this process."""
    package = find_model(model)
    predictor = Predictor(package, OnnxEngine(package))
    side = SIDE * package.patch_size
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    present = np.ones((SIDE, SIDE), bool)
    predictor.block(pixels, present)
    started = time.perf_counter()
    predictor.block(pixels, present)
    return present.size / (time.perf_counter() - started)


@click.command()
@click.option("--repeat", default=3, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rates there.")
@click.option("--one", hidden=True)
def main(repeat: int, json_file: Path | None, one: str | None) -> None:
    """Print patches per second, and their ratios to the small CNN."""
    if one:
        click.echo(rate(one))
        return
    from wsi_idc.training.package import write_package

    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small-cnn"
        facts = {fact: getattr(find_model(), fact) for fact in FACTS} | {"name": "small-cnn", "halo": 0, "metrics": {}}
        write_package(small, facts, {"encoder": build("separable_residual_cnn")})
        models = {"small-cnn": str(small)} | {p.name: p.name for p in list_models()[0]}
        rates: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(repeat):
            for name, model in models.items():
                command = [sys.executable, __file__, "--one", model]
                rates[name].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, median in medians.items():
        click.echo(f"{name:20}{median:8.0f} patches/s  {median / medians['small-cnn']:5.2f} of the small CNN")
    if json_file:
        json_file.write_text(json.dumps(rates, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
