"""Measure a model on labelled patches, by patient: numbers with intervals, a row for each patch, figures, one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.base.disk.folders import new_folder
from wsi_idc.data.kaggle import (
    LabelledPatch,
    folder_hint,
    index_patches,
    patients_in,
    read_patients,
)
from wsi_idc.data.scale import PATCH_MPP, RECORD, same_mpp, stated_mpp, unstated
from wsi_idc.data.seen import seen_by_id, seen_in_parts
from wsi_idc.data.split import check_there, official_split
from wsi_idc.errors import DataError
from wsi_idc.evaluation.metrics import (
    calibration_metrics,
    patch_metrics,
    patient_bootstrap,
    resampled_metrics,
    uncertainty_metrics,
    write_json,
)
from wsi_idc.evaluation.predictions import (
    CLASSES,
    Predictions,
    predict_patches,
    write_classification_report,
    write_predictions,
)
from wsi_idc.inference.choose import choose_engine, make_engine
from wsi_idc.inference.ensemble import Ensemble
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import ModelPackage

# Who is measured, beside the parts of the official split: every patient that is there.
ALL = "all"
# With fewer patients to draw, the percentiles of a bootstrap lie well inside the interval that they stand for.
_FEW = 10


WRITTEN = ("metrics.json", "predictions.parquet", "classification_report.*", "figures", "report.html")


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured: models, several as an ensemble, with `tta` over all eight symmetries, on an engine by name."""

    packages: Sequence[ModelPackage]
    tta: bool = False
    engine: str = "auto"


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


def evaluate_model(
    data: Path,
    measured: Measured,
    output: Path,
    who: str | Path,
    *,
    perturb: bool = False,
    overwrite: bool = False,
    on_change: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure models, several as an ensemble, on labelled patches and write the results into `output`.

    With `perturb` also under every perturbation of `wsi_idc.evaluation.perturb`, and with fewer IDC patches;
    `on_change` hears the name of each, its number and how many there are, and before that "patches", how many are done,
    and of how many.

    `who` is a part of the official split, for its patients that `data` holds, "all" for all that it holds, or a file,
    for all that it lists. The folder must be new or empty, or an evaluation to `overwrite` (OutputError), so that two
    are never mixed. Returns the metrics.
    """
    from wsi_idc.evaluation.plots import draw_figures, draw_robustness
    from wsi_idc.evaluation.report import write_evaluation
    from wsi_idc.evaluation.robustness import measure_robustness

    packages, tta, engine = measured.packages, measured.tta, measured.engine
    doubts = _check_scale(data, packages, perturb)
    patches = _index(data, who)
    with new_folder(output, overwrite, WRITTEN) as place:
        engines = [make_engine(choose_engine(engine, p, (8 if tta else 1) * len(patches)), p) for p in packages]
        ensemble = Ensemble([Predictor(p, e) for p, e in zip(packages, engines, strict=True)], tta=tta)
        tell = _counting(on_change, len(patches)) if on_change else None
        predictions = predict_patches(patches, ensemble, on_patches=tell)
        facts = ("name", "version", "sha256", "threshold", "temperature")
        metrics = {
            "models": [{fact: getattr(p, fact) for fact in facts} for p in packages],
            "tta": tta,
            "measured_on": _said(data, who),
            **measure(predictions, ensemble.threshold),
        }
        metrics["notes"] += doubts + _seen(predictions, packages)
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


def _said(data: Path, who: str | Path) -> str:
    """Say which patients were measured, so that an evaluation on those of training is not taken for one on others."""
    if isinstance(who, Path):
        return f"patients that {who} lists, in {data}"
    return f"all patients in {data}" if who == "all" else f"patients of {who} of the official split, in {data}"


def _counting(on_change: Callable[[str, int, int], None], total: int) -> Callable[[int], None]:
    """Return what tells `on_change` how many patches of a total are done, when it is told how many more are."""
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        on_change("patches", done, total)
        if done == total:
            # The bootstrap, whose end is not known.
            on_change("measuring", 0, 0)

    return tell


def _seen(predictions: Predictions, packages: Sequence[ModelPackage]) -> list[str]:
    """Say how many of the patients were seen when the models were trained, or their thresholds chosen."""
    patients, notes = set(predictions.patients.tolist()), []
    for package in packages:
        parts = seen_in_parts(package.training_data, patients)
        listed = set().union(*parts.values())
        others = seen_by_id(package.training_data, patients - listed)
        for count, where in (
            (len(listed), f"of the official parts {', '.join(parts)}"),
            (len(others), f"by {'its id' if len(others) == 1 else 'their ids'} of those"),
        ):
            if count:
                notes.append(
                    f"{'1 patient is' if count == 1 else f'{count} patients are'} {where}, on which {package.name} "
                    f"{package.version} was trained or its threshold chosen: its numbers on them are flattered"
                )
    return notes


def _check_scale(data: Path, packages: Sequence[ModelPackage], perturb: bool) -> list[str]:
    """Say what is taken for the scale of the patches where their folder does not state it, or they are changed.

    Raises DataError where a folder states another scale than a model sees.
    """
    stated = stated_mpp(data)
    for package in packages:
        if stated is not None and not same_mpp(stated, package.mpp):
            raise DataError(
                f"{data}: its patches are at {stated:g} um/px ({RECORD}), and {package.name} sees {package.mpp:g}; "
                "give a model of that scale"
            )
    # Models of an ensemble see one scale.
    notes = unstated(data, packages[0].mpp, packages[0].name)
    if perturb and not same_mpp(packages[0].mpp, PATCH_MPP):
        notes.append(f"changes by way of another scale are made as of patches at {PATCH_MPP:g} um/px")
    return notes


def _index(data: Path, who: str | Path) -> list[LabelledPatch]:
    """List the patches to measure on; raises DataError, naming the patients, where some have none."""
    if isinstance(who, Path):
        patients = read_patients(who)
        if not patients:
            raise DataError(f"{who}: lists no patient")
    else:
        if who == ALL:
            return index_patches(data)
        patients = set(official_split(patients_in(data))[who])
        if not patients:
            hint = folder_hint(data) or f"; --split {ALL} takes all patients in it, --patients FILE those of a list"
            raise DataError(f"{data}: has no patient of the {who} part of the official split{hint}")
    patches = index_patches(data, patients)
    # Whatever is no patient is in no list either, such as the copy of the tree that Kaggle's archive nests in itself.
    if who != "unlisted":
        check_there(data, patients, {p.patient for p in patches})
    return patches
