"""Train the architectures that begin from nothing, by patient and on a split that leaks, and print the table.

    python benchmarks/architectures.py DATA -o runs/architectures

DATA is the IDC patches in Kaggle's layout. The protocol is one, and short. Both splits have the same number of training
and of validation patches. By patient: patients of official train and unlisted, drawn at random, and all of official
val. Leaky: patches drawn at random from all of these patients. Patients of the official test list are in neither. Takes
about half an hour on two cores; started again, it goes on where it stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import numpy as np

from wsi_idc.data.kaggle import index_patches
from wsi_idc.data.split import official_split, write_leaky_split

# What differs from the protocol, and has to: the plain CNN is published with Adagrad, VGG16 without normalisation does
# not begin to learn at the rate of the others, and a context network needs neighbours, so that it follows an encoder.
RECIPES = {
    "plain_cnn": ["optimizer.kind=adagrad", "optimizer.learning_rate=1e-2", "optimizer.weight_decay=0"],
    "cancernet": [],
    "vgg16": ["optimizer.learning_rate=2e-4"],
    "resnet50": [],
    "separable_residual_cnn": [],
    "residual_cnn": [],
    "residual_cnn + context": ["model.context=true", "context.variants=5", "context.steps=300"],
}
METRICS = ("f1", "balanced_accuracy", "auc")


def write_lists(data: Path, folder: Path, patches: int) -> None:
    """Write the patch lists of both splits."""
    listed = index_patches(data)
    patients = official_split({p.patient for p in listed})
    sides = {patient: part for part, own in patients.items() for patient in own}
    pool = [p for p in listed if sides[p.patient] in ("train", "unlisted")]
    val = [p for p in listed if sides[p.patient] == "val"]
    rng = np.random.default_rng(0)
    # Patients as a whole, so that there are sections for a context network to learn from.
    place = {patient: i for i, patient in enumerate(rng.permutation(sorted({p.patient for p in pool})).tolist())}
    train = sorted(pool, key=lambda p: place[p.patient])[:patches]
    everything = [*pool, *val]
    drawn = [everything[i] for i in rng.permutation(len(everything))]
    write_leaky_split(folder / "by-patient", {"train": train, "val": val}, data)
    write_leaky_split(folder / "leaky", {"train": drawn[:patches], "val": drawn[patches:][: len(val)]}, data)


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option("--patches", default=12_800, show_default=True, help="Training patches.")
@click.option("--epochs", default=3, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(RECIPES)), help="Architectures.  [default: all]")
def main(data: Path, output: Path, patches: int, epochs: int, only: tuple[str, ...]) -> None:
    """Train, and print a Markdown table."""
    if not (output / "leaky").exists():
        write_lists(data, output, patches)
    rows = []
    for name in only or RECIPES:
        values, weights = [], 0
        for split in ("by-patient", "leaky"):
            run = output / f"{name.replace(' ', '')}-{split}"
            settings = ["data.train=['train']", "optimizer.learning_rate=1e-3", *RECIPES[name], f"fit.epochs={epochs}"]
            command = [sys.executable, "-m", "wsi_idc", "train", str(data), "-o", str(run)]
            command += [f"--split={output / split}", f"--architecture={name.split()[0]}"]
            command += [f"--set={s}" for s in settings]
            subprocess.run(command, check=True, stdout=sys.stderr)
            result = json.loads((run / "run.json").read_text(encoding="utf-8"))
            values += [result["metrics"]["val"][m]["value"] for m in METRICS]
            weights = result["weights"]
        rows.append(f"| {name} | {weights / 1e6:.2f} M | " + " | ".join(f"{v:.3f}" for v in values) + " |")
    titles = ["architecture", "weights", "F1", "BAC", "AUC", "leaky F1", "leaky BAC", "leaky AUC"]
    click.echo(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|\n" + "\n".join(rows))


if __name__ == "__main__":
    main()
