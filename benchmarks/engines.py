"""Patches per second of each engine of a model at several batch sizes: where the engines' defaults come from.

    python benchmarks/engines.py [--model idc-patch] [--repeat 3] [--json FILE]

Each engine runs in a process of its own, since the threads of one slow the other; the processes take turns. Ratios are
to ONNX Runtime at its default batch.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np

from wsi_idc.inference.engines import ENGINES
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.registry import DEFAULT_MODEL, find_model

BATCHES = (4, 8, 16, 32, 64, 128, 256, 512)


def rates(model: str, name: str, patches: int) -> dict[int, float]:
    """Measure patches per second of one engine, by batch size, in this process."""
    package = find_model(model)
    shape = (patches, package.patch_size, package.patch_size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = {}
    for batch in BATCHES:
        # Some compile for the size of their batches when they are made.
        predictor = Predictor(package, type("Sized", (ENGINES[name],), {"batch_size": batch})(package))
        predictor.encode(pixels[:batch])
        started = time.perf_counter()
        predictor.encode(pixels)
        found[batch] = patches / (time.perf_counter() - started)
    return found


@click.command()
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--repeat", default=3, show_default=True)
@click.option("--patches", default=1024, show_default=True)
@click.option("--engine", "only", hidden=True, help="Measure this engine here, print JSON.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(model: str, repeat: int, patches: int, only: str | None, json_file: Path | None) -> None:
    """Print the table, and write the numbers where asked."""
    if only:
        click.echo(json.dumps(rates(model, only, patches)))
        return
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(repeat):
        for name in ENGINES:
            command = [sys.executable, __file__, "--model", model, "--patches", str(patches), "--engine", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for batch, rate in json.loads(done.stdout.splitlines()[-1]).items():
                found.setdefault((name, int(batch)), []).append(rate)
    base = statistics.median(found["onnx", ENGINES["onnx"].batch_size])
    click.echo(f"{'engine':14}{'batch':>6}{'patches/s':>11}{'ratio':>7}")
    for (name, batch), values in found.items():
        rate = statistics.median(values)
        default = "  default" if batch == ENGINES[name].batch_size else ""
        click.echo(f"{name:14}{batch:6}{rate:11.0f}{rate / base:7.2f}{default}")
    if json_file:
        json_file.write_text(json.dumps({f"{e} {b}": r for (e, b), r in found.items()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
