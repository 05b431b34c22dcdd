"""Train the context model that ships: a network on the features of neighbouring patches, over a frozen patch model.

    python examples/train_context_model.py DATA --val cases_val.txt --test cases_test.txt -o models/shipped/idc-context

DATA is the IDC patches in Kaggle's layout. Patients of --val fit the temperature and the threshold; patients of --test
are left out altogether; all others train. Takes about ten minutes on two cores, most of it for encoding the patches.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from wsi_idc.data.kaggle import index_patches, load_patches, read_patients
from wsi_idc.inference import load_keras
from wsi_idc.models.architectures import context_network, feature_encoder
from wsi_idc.models.registry import find_model
from wsi_idc.training.calibrate import cross_validated, fit_temperature, fit_threshold, probabilities
from wsi_idc.training.context import ContextConfig, SectionFeatures, context_logits, encode_sections, fit_context
from wsi_idc.training.package import write_package

DILATIONS = (1, 2, 4)
WHOLE_SECTION = 400  # patches: the random samples of a patient in the data are smaller


def measure(logits: np.ndarray, patients: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Measure val patches with temperature and threshold cross-validated over patients."""
    probability, positive = cross_validated(logits, patients, labels)
    return {
        "patients": len(set(patients.tolist())),
        "patches": len(labels),
        "auc": round(float(roc_auc_score(labels, logits)), 4),
        "f1": round(float(f1_score(labels, positive)), 4),
        "balanced_accuracy": round(float(balanced_accuracy_score(labels, positive)), 4),
        "accuracy": round(float((positive == labels).mean()), 4),
        "brier": round(float(((probability - labels) ** 2).mean()), 4),
    }


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--val", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--test", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option("--patch-model", default="idc-patch", show_default=True, help="Its network becomes the encoder.")
@click.option("--variants", default=13, show_default=True, help="Views of each section to train on.")
def main(data: Path, val: Path, test: Path, output: Path, patch_model: str, variants: int) -> None:
    """Encode, train, calibrate, measure on the validation patients, and package."""
    patch_package = find_model(patch_model)
    encoder = feature_encoder(load_keras(patch_package, "encoder"))
    held_back = read_patients(test)
    val_patients = read_patients(val) - held_back
    patches = [p for p in index_patches(data) if p.patient not in held_back]

    def encode(of_val: bool, views: int) -> tuple[SectionFeatures, np.ndarray]:
        pixels, _, kept = load_patches([p for p in patches if (p.patient in val_patients) == of_val])
        return encode_sections(encoder, pixels, kept, views, seed=1), np.array([p.patient for p in kept])

    train, train_owner = encode(of_val=False, views=variants)
    features = train.variants[0].shape[1]
    model = fit_context(context_network(features, dilations=DILATIONS), train, ContextConfig())

    found, owner = encode(of_val=True, views=1)
    logits, labels = context_logits(model, found), found.labels
    temperature = fit_temperature(logits, labels)
    threshold = round(fit_threshold(probabilities(logits, temperature), labels), 4)
    names, counts = np.unique(owner, return_counts=True)
    whole = np.isin(owner, names[counts >= WHOLE_SECTION])
    metrics = {
        "val": measure(logits, owner, labels),
        "val_whole_sections": measure(logits[whole], owner[whole], labels[whole]),
        "val_sampled_patients": measure(logits[~whole], owner[~whole], labels[~whole]),
    }
    facts = {
        "name": output.name,
        "version": "1.0.0",
        "description": f"{patch_package.name} and a context network on neighbouring patches",
        "licence": "Apache-2.0",
        "mpp": patch_package.mpp,
        "patch_size": patch_package.patch_size,
        "halo": sum(DILATIONS),
        "classes": list(patch_package.classes),
        "threshold": threshold,
        "temperature": round(temperature, 4),
        "training_data": {
            "description": patch_package.training_data["description"]
            + "; metrics with temperature and threshold cross-validated over these",
            "patients": len(set(train_owner.tolist())),
            "patches": len(train_owner),
        },
        "metrics": metrics,
    }
    package = write_package(output, facts, {"encoder": encoder, "context": model})
    click.echo(f"{package.folder}: threshold {threshold}, temperature {temperature:.3f}")
    for group, values in metrics.items():
        click.echo(f"  {group:22}" + "  ".join(f"{k} {v}" for k, v in values.items()))


if __name__ == "__main__":
    main()
