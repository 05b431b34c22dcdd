"""Patches per second of each engine of a model at several batch sizes: where the engines' defaults come from.

    python benchmarks/engines.py [--model idc-patch] [--repeat 3] [--json FILE]

The engines take turns within each repeat. Ratios are to ONNX Runtime at its default batch.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import click
import numpy as np

from wsi_idc.inference import ENGINES
from wsi_idc.models.registry import DEFAULT_MODEL, find_model

BATCHES = (16, 32, 64, 128, 256, 512)


@click.command()
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--repeat", default=3, show_default=True)
@click.option("--patches", default=1024, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(model: str, repeat: int, patches: int, json_file: Path | None) -> None:
    """Print the table, and write the numbers where asked."""
    package = find_model(model)
    size = package.patch_size
    pixels = np.random.default_rng(0).integers(0, 256, (patches, size, size, 3), dtype=np.uint8)
    engines = {name: ENGINES[name](package) for name in sorted(package.formats())}
    rates: dict[tuple[str, int], list[float]] = {(e, b): [] for e in engines for b in BATCHES}
    for engine in engines.values():
        for batch in BATCHES:
            engine.run("encoder", pixels[:batch])
    for _ in range(repeat):
        for (name, batch), found in rates.items():
            started = time.perf_counter()
            for start in range(0, patches, batch):
                engines[name].run("encoder", pixels[start : start + batch])
            found.append(patches / (time.perf_counter() - started))
    base = statistics.median(rates["onnx", ENGINES["onnx"].batch_size])
    click.echo(f"{'engine':8}{'batch':>6}{'patches/s':>11}{'ratio':>7}")
    for (name, batch), found in rates.items():
        rate = statistics.median(found)
        default = "  default" if batch == ENGINES[name].batch_size else ""
        click.echo(f"{name:8}{batch:6}{rate:11.0f}{rate / base:7.2f}{default}")
    if json_file:
        json_file.write_text(json.dumps({f"{e} {b}": r for (e, b), r in rates.items()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
