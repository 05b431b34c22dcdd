"""Train the patch model that ships, from IDC patches in Kaggle's layout, and write it as a model package.

    python examples/train_shipped_model.py DATA --val cases_val.txt --test cases_test.txt -o models/shipped/idc-patch

Patients of --val fit only the temperature and the threshold; patients of --test are left out altogether; all others
train. Takes about half an hour on two cores. Started again after an interruption, it goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path

import click

from wsi_idc.data.kaggle import index_patches, load_patches, read_patients
from wsi_idc.metrics import patch_metrics
from wsi_idc.models.architectures import ARCHITECTURES
from wsi_idc.training.calibrate import fit_temperature, fit_threshold, probabilities
from wsi_idc.training.fit import FitConfig, fit
from wsi_idc.training.package import write_package


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--val", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--test", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), default=Path("runs/idc-patch"), show_default=True)
@click.option("--epochs", default=FitConfig().epochs, show_default=True)
def main(data: Path, val: Path, test: Path, output: Path, run: Path, epochs: int) -> None:
    """Train, calibrate, measure on the validation patients, and package."""
    patches = index_patches(data)
    held_back = read_patients(test)
    val_patients = read_patients(val) - held_back
    train = [p for p in patches if p.patient not in val_patients | held_back]
    model = ARCHITECTURES["separable_residual_cnn"]()
    pixels, labels, train = load_patches(train)
    model = fit(model, pixels, labels, run, FitConfig(epochs=epochs))

    pixels, labels, kept = load_patches([p for p in patches if p.patient in val_patients])
    logits = model.predict(pixels, batch_size=512, verbose=0)[:, 0]
    temperature = fit_temperature(logits, labels)
    probability = probabilities(logits, temperature)
    threshold = round(fit_threshold(probability, labels), 4)
    measured = patch_metrics(labels, probability, threshold)
    metrics = {"patches": len(labels), "patients": len({p.patient for p in kept})}
    metrics |= {name: round(measured[name], 4) for name in ("auc", "f1", "balanced_accuracy", "accuracy")}
    facts = {
        "name": output.name,
        "version": "1.0.0",
        "description": "small separable residual CNN on single patches",
        "licence": "Apache-2.0",
        "mpp": 4.0,
        "patch_size": 50,
        "halo": 0,
        "classes": ["non-IDC", "IDC"],
        "threshold": threshold,
        "temperature": round(temperature, 4),
        "training_data": {
            "description": "Breast Histopathology Images (IDC_regular_ps50_idx5; Cruz-Roa et al. 2014, Janowczyk and "
            "Madabhushi 2016): train and unlisted patients; temperature and threshold from the val patients",
            "patients": len({p.patient for p in train}),
            "patches": len(train),
        },
        "metrics": {"val": metrics},
    }
    package = write_package(output, facts, {"encoder": model})
    click.echo(f"{package.folder}: threshold {threshold}, temperature {temperature:.3f}")
    for name, value in metrics.items():
        click.echo(f"  val {name:18}{value}")


if __name__ == "__main__":
    main()
