"""Measure a model on labelled patches, by patient: numbers with intervals, a row for each patch, figures, one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from sklearn.metrics import classification_report

from wsi_idc.base.files import new_folder
from wsi_idc.data.kaggle import (
    MISSING,
    LabelledPatch,
    count_neighbours,
    folder_hint,
    index_patches,
    is_whole_section,
    load_patches,
    place_patches,
    read_patients,
)
from wsi_idc.data.split import official_split
from wsi_idc.errors import DataError, ModelError
from wsi_idc.evaluation.metrics import (
    calibration_metrics,
    patch_metrics,
    patient_bootstrap,
    resampled_metrics,
    uncertainty_metrics,
    write_json,
)
from wsi_idc.evaluation.perturb import Perturbation
from wsi_idc.inference.choose import choose_engine, make_engine
from wsi_idc.inference.ensemble import Ensemble
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import ModelPackage

CLASSES = ["not IDC", "IDC"]
# With fewer patients to draw, the percentiles of a bootstrap lie well inside the interval that they stand for.
_FEW = 10


@dataclass(frozen=True, slots=True)
class Predictions:
    """Patches with the probability of IDC that was found for them, and that before calibration.

    `uncertainty` (n,) is the standard deviation of the probability over models and views, None where there is one.
    `border` (n,) bool: a neighbour has the other label. `whole_section` (n,) bool: the patches of this patient form a
    section, rather than being a random sample of one, so that its neighbours are known.
    """

    patches: list[LabelledPatch]
    probability: np.ndarray
    uncalibrated: np.ndarray
    uncertainty: np.ndarray | None
    border: np.ndarray
    whole_section: np.ndarray
    left_out: int

    @property
    def labels(self) -> np.ndarray:
        """Labels (n,) int."""
        return np.array([p.label for p in self.patches])

    @property
    def patients(self) -> np.ndarray:
        """Patient ids (n,) str."""
        return np.array([p.patient for p in self.patches])


def predict_patches(
    patches: Sequence[LabelledPatch], ensemble: Ensemble, perturbation: Perturbation | None = None
) -> Predictions:
    """Predict patches, each with its neighbours of the same patient; with a `perturbation`, what is made of them by it.

    Patches of another size than the models' are left out and counted, and so is a second one at a place. Raises
    DataError where nothing is left, ModelError where what comes out is no number.
    """
    size = ensemble.patch_size
    found, kept = [], []
    for patient, listed in groupby(sorted(patches, key=lambda p: p.patient), key=lambda p: p.patient):
        pixels, _, own = load_patches(list(listed), size)
        if not own:
            continue
        grid = place_patches(own, size)[patient]
        present = grid != MISSING
        combined = ensemble.look(_block(pixels, grid, perturbation), present)
        idc = present & (np.array([p.label for p in own])[grid] == 1)
        border = np.where(idc, count_neighbours(present & ~idc), count_neighbours(idc)) > 0
        whole = np.full(grid.shape, is_whole_section(present))
        columns = (combined.probability, combined.uncalibrated, combined.uncertainty, border, whole)
        found.append([column[present] for column in columns])
        kept += [own[n] for n in grid[present]]
    names = " and ".join(p.name for p in ensemble.packages)
    if not kept:
        raise DataError(f"no patch is {size}x{size} pixels, which is what {names} takes")
    probability, uncalibrated, uncertainty, border, whole = (np.concatenate(c) for c in zip(*found, strict=True))
    if lost := int(np.isnan(probability).sum()):
        raise ModelError(f"{names}: gives no number for {lost} of {len(kept)} patches; train or install it again")
    spread = uncertainty if ensemble.n_views > 1 else None
    return Predictions(kept, probability, uncalibrated, spread, border, whole, len(patches) - len(kept))


def _block(pixels: np.ndarray, grid: np.ndarray, perturbation: Perturbation | None) -> np.ndarray:
    """Lay patches (n, s, s, 3) by their numbers in `grid` (r, c): (r * s, c * s, 3), white where there is none."""
    if perturbation and not perturbation.whole:
        pixels = perturbation.patches(pixels)
    rows, cols = grid.shape
    size = pixels.shape[1]
    canvas = np.full((rows, cols, size, size, 3), 255, np.uint8)
    canvas[grid != MISSING] = pixels[grid[grid != MISSING]]
    block = canvas.swapaxes(1, 2).reshape(rows * size, cols * size, 3)
    return perturbation.section(block) if perturbation and perturbation.whole else block


def measure(predictions: Predictions, threshold: float, resamples: int = 1000) -> dict[str, Any]:
    """Compute what metrics.json holds: all patches, calibration, uncertainty, then groups of patches, then patients.

    What is not defined is NaN. Border and interior are told apart in whole sections only: in a random sample of patches
    most neighbours are not there to be compared.
    """
    labels, probability, patients = predictions.labels, predictions.probability, predictions.patients

    def group(rows: np.ndarray) -> dict[str, Any]:
        counts = {"n_patches": int(rows.sum()), "n_patients": len(np.unique(patients[rows]))}
        if not rows.any():
            return counts
        compute = resampled_metrics(labels[rows], probability[rows], probability[rows] >= threshold)
        return counts | patient_bootstrap(patients[rows], compute, resamples)

    whole, border = predictions.whole_section, predictions.border
    groups = {
        "whole_sections": whole,
        "sampled_patients": ~whole,
        "border": whole & border,
        "interior": whole & ~border,
    }
    everything = group(np.ones(len(labels), bool))
    before = patient_bootstrap(patients, partial(calibration_metrics, labels, predictions.uncalibrated), resamples)
    per_patient = {}
    for patient in np.unique(patients).tolist():
        own = patients == patient
        values = patch_metrics(labels[own], probability[own], threshold)
        per_patient[patient] = {"n_patches": int(own.sum()), "n_idc": int(labels[own].sum())} | values
    metrics = {
        "threshold": threshold,
        **everything,
        "calibration": {"before": before, "after": {name: everything[name] for name in before}},
    }
    if predictions.uncertainty is not None:
        wrong = (probability >= threshold) != labels
        metrics["uncertainty"] = uncertainty_metrics(wrong, predictions.uncertainty, patients, resamples)
    return metrics | {
        "groups": {name: group(rows) for name, rows in groups.items()},
        "per_patient": per_patient,
        "left_out": predictions.left_out,
        "notes": _notes(everything, labels, predictions.left_out),
    }


def _notes(everything: dict[str, Any], labels: np.ndarray, left_out: int) -> list[str]:
    """Say what a reader of the numbers would otherwise stumble over."""
    notes = []
    if left_out:
        notes.append(f"patches left out: {left_out} (of another size, or a second one at a place)")
    if len(np.unique(labels)) == 1:
        notes.append(f"every patch is labelled {CLASSES[labels[0]]}: what compares the two classes is not defined")
    entries = {name: entry for name, entry in everything.items() if isinstance(entry, dict)}
    if undefined := [name for name, entry in entries.items() if np.isnan(entry["value"])]:
        notes.append(f"not defined on these patches: {', '.join(undefined)}")
    if everything["n_patients"] == 1:
        notes.append("one patient only: no intervals")
    elif everything["n_patients"] < _FEW:
        notes.append(f"{everything['n_patients']} patients only: intervals from so few are too narrow")
    return notes


def write_predictions(path: Path, predictions: Predictions, threshold: float) -> None:
    """Write a Parquet table with a row for each patch."""
    patches: Sequence[LabelledPatch] = predictions.patches
    columns = {
        "patient": [p.patient for p in patches],
        "x": [p.x for p in patches],
        "y": [p.y for p in patches],
        "label": [p.label for p in patches],
        "probability": predictions.probability,
        "uncalibrated": predictions.uncalibrated,
        "idc": predictions.probability >= threshold,
        "border": predictions.border,
        "whole_section": predictions.whole_section,
    }
    if predictions.uncertainty is not None:
        columns["uncertainty"] = predictions.uncertainty
    parquet.write_table(pa.table(columns), path)


def write_classification_report(folder: Path, predictions: Predictions, threshold: float) -> str:
    """Write scikit-learn's classification report as classification_report.txt and .json; return the text."""
    labels, positive = predictions.labels, (predictions.probability >= threshold).astype(int)
    settings = {"labels": [0, 1], "target_names": CLASSES, "zero_division": np.nan}
    text: str = classification_report(labels, positive, digits=3, **settings)
    (folder / "classification_report.txt").write_text(text, encoding="utf-8")
    values = classification_report(labels, positive, output_dict=True, **settings)
    write_json(folder / "classification_report.json", values)
    return text


def evaluate_model(
    data: Path,
    packages: Sequence[ModelPackage],
    output: Path,
    who: str | Path,
    *,
    tta: bool = False,
    engine: str = "auto",
    perturb: bool = False,
    on_change: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure models, several as an ensemble, on labelled patches and write the results into `output`.

    With `perturb` also under every perturbation of `wsi_idc.evaluation.perturb`, and with fewer IDC patches;
    `on_change` hears the name of each, its number and how many there are.

    `who` is a part of the official split, for its patients that `data` holds, or a file, for all that it lists. The
    folder must be new or empty (OutputError), so that two evaluations are never mixed. Returns the metrics.
    """
    from wsi_idc.evaluation.plots import draw_figures, draw_robustness
    from wsi_idc.evaluation.report import write_evaluation
    from wsi_idc.evaluation.robustness import measure_robustness

    patches = _index(data, who)
    views = 8 if tta else 1
    with new_folder(output) as place:
        engines = [make_engine(choose_engine(engine, p, views * len(patches)), p) for p in packages]
        ensemble = Ensemble([Predictor(p, e) for p, e in zip(packages, engines, strict=True)], tta=tta)
        predictions = predict_patches(patches, ensemble)
        facts = ("name", "version", "sha256", "threshold", "temperature")
        metrics = {
            "models": [{fact: getattr(p, fact) for fact in facts} for p in packages],
            "tta": tta,
            **measure(predictions, ensemble.threshold),
        }
        if perturb:
            metrics["robustness"] = measure_robustness(patches, ensemble, predictions, on_change)
        figures = draw_figures(place / "figures", predictions, ensemble.threshold)
        if perturb:
            figures.append(draw_robustness(place / "figures", metrics["robustness"]))
        write_predictions(place / "predictions.parquet", predictions, ensemble.threshold)
        text = write_classification_report(place, predictions, ensemble.threshold)
        write_evaluation(place / "report.html", metrics, text, figures)
        write_json(place / "metrics.json", metrics)
    return metrics


def _index(data: Path, who: str | Path) -> list[LabelledPatch]:
    """List the patches to measure on; raises DataError, naming the patients, where some have none."""
    if isinstance(who, Path):
        patients = read_patients(who)
        if not patients:
            raise DataError(f"{who}: lists no patient")
    else:
        patients = set(official_split({p.name for p in data.iterdir() if p.is_dir()})[who])
        if not patients:
            hint = folder_hint(data) or "; give the folder that holds one folder a patient, or --patients FILE"
            raise DataError(f"{data}: has no patient of the {who} part{hint}")
    patches = index_patches(data, patients)
    # Whatever is no patient is in no list either, such as the copy of the tree that Kaggle's archive nests in itself.
    if (missing := sorted(patients - {p.patient for p in patches})) and who != "unlisted":
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DataError(f"{data}: has no patches of {shown}; take them off the list or get their folders")
    return patches
