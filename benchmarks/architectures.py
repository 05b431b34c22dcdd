"""Train every architecture by one short protocol, by patient and on a split that leaks, and print the table.

    python benchmarks/architectures.py DATA -o runs/architectures --imagenet lite0.npz

DATA is the IDC patches in Kaggle's layout. Both splits have the same number of training and of validation patches. By
patient: patients of official train and unlisted, and of official val, each drawn at random until there are enough.
Leaky: patches drawn at random from all of these patients. Patients of the official test list are in neither. Takes half
an hour on two cores; started again, it goes on where it stopped. `examples/imagenet_weights.py` writes lite0.npz.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import numpy as np

from wsi_idc.data.kaggle import LabelledPatch, index_patches
from wsi_idc.data.split import official_split, write_leaky_split

# What differs from the protocol, and has to: the plain CNN is published with Adagrad, VGG16 without normalisation does
# not begin to learn at the rate of the others, and a context network needs neighbours, so that it follows an encoder.
RECIPES = {
    "plain_cnn": ["optimizer.kind=adagrad", "optimizer.learning_rate=1e-2", "optimizer.weight_decay=0"],
    "cancernet": [],
    "separable_residual_cnn": [],
    "residual_cnn": [],
    "efficientnet_lite0": [],
    "efficientnet_lite0 + context": ["model.context=true", "context.variants=3", "context.steps=300"],
    "resnet50": [],
    "vgg16": ["optimizer.learning_rate=2e-4"],
}
METRICS = ("f1", "balanced_accuracy", "auc")


def write_lists(data: Path, folder: Path, patches: int, val_patches: int) -> None:
    """Write the patch lists of both splits."""
    listed = index_patches(data)
    patients = official_split({p.patient for p in listed})
    rng = np.random.default_rng(0)
    # Patients as a whole, so that there are sections for a context network to learn from.
    order = {patient: i for i, patient in enumerate(rng.permutation(sorted({p.patient for p in listed})).tolist())}

    def draw(names: list[str], count: int) -> list[LabelledPatch]:
        return sorted((p for p in listed if p.patient in names), key=lambda p: order[p.patient])[:count]

    pool = [p for p in listed if p.patient not in patients["test"]]
    drawn = [pool[i] for i in rng.permutation(len(pool))]
    by_patient = {
        "train": draw([*patients["train"], *patients["unlisted"]], patches),
        "val": draw(patients["val"], val_patches),
    }
    leaky = {"train": drawn[:patches], "val": drawn[patches : patches + val_patches]}
    write_leaky_split(folder / "by-patient", by_patient, data)
    write_leaky_split(folder / "leaky", leaky, data)


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option("--imagenet", type=click.Path(exists=True, dir_okay=False), help="Weights of efficientnet_lite0.")
@click.option("--patches", default=8_000, show_default=True, help="Training patches.")
@click.option("--val-patches", default=2_000, show_default=True)
@click.option("--epochs", default=2, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(RECIPES)), help="Of these architectures.  [default: all]")
def main(
    data: Path, output: Path, imagenet: str | None, patches: int, val_patches: int, epochs: int, only: tuple[str, ...]
) -> None:
    """Train, and print a Markdown table."""
    if not (output / "leaky" / "val.csv").exists():
        write_lists(data, output, patches, val_patches)
    rows = []
    for name in only or RECIPES:
        values, weights = [], 0
        for split in ("by-patient", "leaky"):
            run = output / f"{name.replace(' ', '')}-{split}"
            settings = ["data.train=['train']", "optimizer.learning_rate=1e-3", "optimizer.warmup=0.2", *RECIPES[name]]
            # Small batches: the running means of batch normalisation need a thousand steps.
            settings += [f"fit.epochs={epochs}", "fit.batch_size=16"]
            if imagenet and name.startswith("efficientnet"):
                settings.append(f"model.weights='{imagenet}'")
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
