"""Temperature and threshold, fitted on validation patients and kept in the model package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.metrics import roc_curve

from wsi_idc.base.bootstrap import patient_bootstrap
from wsi_idc.errors import DataError
from wsi_idc.evaluation.metrics import resampled_metrics

_FOLDS = 6
# Temperatures are searched as far as this from 1, in natural logarithms, and one so near to an end of it lies there.
_WIDEST, _NEAR = 3.0, 0.01


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature that minimises the log loss of `labels` under `logits / T` (Guo et al. 2017)."""
    sign = np.where(labels == 1, 1.0, -1.0)

    def log_loss(log_t: float) -> float:
        return float(np.logaddexp(0, -sign * logits.astype(np.float64) / np.exp(log_t)).mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=(-_WIDEST, _WIDEST), method="bounded").x))


def fit_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Find the probability threshold with the highest sum of balanced accuracy and twice F1 (positive means >=).

    The best F1 alone lies at a threshold where some sections with little IDC come out empty; a little lower, much
    sensitivity costs hardly any F1. Balanced accuracy alone cares little for what it calls IDC on tissue without
    cancer, of which a slide has several times as much.
    """
    false_positive, sensitivity, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    positives, negatives = (labels == 1).sum(), (labels != 1).sum()
    f1 = 2 * sensitivity * positives / (sensitivity * positives + false_positive * negatives + positives)
    balanced_accuracy = (sensitivity + 1 - false_positive) / 2
    # The first threshold is above all probabilities.
    return float(thresholds[1:][int(np.argmax((2 * f1 + balanced_accuracy)[1:]))])


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Turn logits into calibrated probabilities: sigmoid(logits / temperature), float32."""
    return expit(logits / temperature).astype(np.float32)


def _folds(patients: np.ndarray, folds: int) -> list[np.ndarray]:
    names = np.unique(patients)
    return [np.isin(patients, names[fold::folds]) for fold in range(min(folds, len(names)))]


def check_validation(patients: np.ndarray, labels: np.ndarray, folds: int = _FOLDS) -> None:
    """Raise DataError where temperature and threshold could not be fitted, each time without some of the patients."""
    if len(np.unique(labels)) < 2:
        raise DataError(f"all {len(labels)} validation patches are of class {labels[0]}; both are needed")
    for here in _folds(patients, folds):
        if len(np.unique(labels[~here])) < 2:
            raise DataError(
                f"without {', '.join(np.unique(patients[here]))} the validation patches are not of both classes; "
                "to calibrate on some patients and measure on others, give more patients"
            )


def cross_validated(
    logits: np.ndarray,
    patients: np.ndarray,
    labels: np.ndarray,
    folds: int = _FOLDS,
    formed: Sequence[np.ndarray] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Calibrate each patient by temperature and threshold fitted on other patients only.

    Fitted on `logits` (n,) and on those of the same patches in other forms, `formed`; measured on `logits` alone.
    Returns probabilities (n,) float32 and decisions (n,) bool: what the choices are worth on patients never seen.
    """
    probability = np.empty(len(labels), np.float32)
    positive = np.empty(len(labels), bool)
    for here in _folds(patients, folds):
        known, marked = _stacked([form[~here] for form in (logits, *formed)], labels[~here])
        temperature = fit_temperature(known, marked)
        threshold = fit_threshold(probabilities(known, temperature), marked)
        probability[here] = probabilities(logits[here], temperature)
        positive[here] = probability[here] >= threshold
    return probability, positive


def _stacked(forms: Sequence[np.ndarray], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(forms), np.tile(labels, len(forms))


def calibrate(
    logits: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    whole: np.ndarray,
    formed: Sequence[np.ndarray] = (),
) -> dict[str, Any]:
    """Fit temperature and threshold on validation patches, and say what they are worth on patients not used for them.

    They are fitted on `logits` (n,) and, where there are some, on the logits of the same patches in other forms,
    `formed`: what is fitted under perturbation survives a shift better (Tomani et al. 2021). What is measured are the
    patches as they are. `whole` (n,) bool tells patches of whole sections from those of sampled patients. Returns
    "temperature", "threshold", "notes" of what is doubtful of them, and "metrics": for all patches, whole sections and
    sampled patients, each metric with its interval, by temperatures and thresholds cross-validated over the patients.
    """
    known, marked = _stacked([logits, *formed], labels)
    temperature = round(fit_temperature(known, marked), 4)
    # A package takes thresholds between 0 and 1 only.
    threshold = min(max(round(fit_threshold(probabilities(known, temperature), marked), 4), 1e-4), 1 - 1e-4)
    groups = {"val": np.ones(len(labels), bool), "val_whole_sections": whole, "val_sampled_patients": ~whole}
    metrics = cross_validated_metrics(logits, labels, patients, groups, formed)
    found = {"temperature": temperature, "threshold": threshold, "notes": calibration_notes(temperature)}
    return found | {"metrics": metrics}


def calibration_notes(temperature: float) -> list[str]:
    """Say where a temperature is the end of its search, and no minimum."""
    if abs(np.log(temperature)) < _WIDEST - _NEAR:
        return []
    why = (
        "as where the network is right of every validation patch"
        if temperature < 1
        else "as where what it says has little to do with the labels"
    )
    return [
        f"the temperature, {temperature:g}, is the end of its search ({np.exp(-_WIDEST):.2g} to {np.exp(_WIDEST):.2g})"
        f", {why}: probabilities are not calibrated; give more validation patients, or train longer"
    ]


def cross_validated_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    groups: Mapping[str, np.ndarray],
    formed: Sequence[np.ndarray] = (),
) -> dict[str, dict[str, Any]]:
    """Measure groups of patches, (n,) bool by name, calibrated on other patients: each metric with its interval.

    Groups without patches are left out.
    """
    probability, positive = cross_validated(logits, patients, labels, formed=formed)
    metrics = {}
    for name, rows in groups.items():
        if rows.any():
            compute = resampled_metrics(labels[rows], probability[rows], positive[rows])
            counts = {"patients": len(np.unique(patients[rows])), "patches": int(rows.sum())}
            metrics[name] = counts | patient_bootstrap(patients[rows], compute)
    return metrics
