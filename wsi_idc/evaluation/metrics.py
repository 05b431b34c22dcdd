"""Numbers of a binary classifier of patches, with intervals from a bootstrap over patients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from wsi_idc.base.bootstrap import Compute, Metrics, as_json, patient_bootstrap


def patch_metrics(labels: np.ndarray, probability: np.ndarray, threshold: float) -> Metrics:
    """Compute the metrics of patches: `labels` (n,) 0 or 1, `probability` (n,), IDC from `threshold` on.

    F1, sensitivity and precision are of the IDC class; `weighted_f1` averages both classes by their size, and is the
    figure that some publications call F1. A metric that is not defined (one class only) is NaN.
    """
    return resampled_metrics(labels, probability, probability >= threshold)(np.ones(len(labels), int))


def resampled_metrics(labels: np.ndarray, probability: np.ndarray, positive: np.ndarray) -> Compute:
    """Make the function that computes `patch_metrics` of a resample, given how often each patch counts.

    `positive` (n,) bool are the patches that were decided to be IDC.
    """

    def compute(weights: np.ndarray) -> Metrics:
        decided = decision_metrics(labels, positive, weights)
        return _ranking(labels, probability, weights) | decided | calibration_metrics(labels, probability, weights)

    return compute


def decision_metrics(labels: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> Metrics:
    """Compute those of `patch_metrics` that depend on which patches were decided to be IDC, `positive` (n,) bool."""
    counts = confusion_matrix(labels, positive, labels=[0, 1], sample_weight=weights)
    tn, fp, fn, tp = counts.ravel().tolist()
    total = tn + fp + fn + tp
    sensitivity, specificity = _share(tp, fn), _share(tn, fp)
    # F1 of each class, 2 TP / (2 TP + FP + FN); a class that neither occurs nor is found weighs nothing.
    f1, f1_other = _share(2 * tp, fp + fn), _share(2 * tn, fp + fn)
    return {
        "f1": f1,
        "weighted_f1": float(np.nansum([f1 * (tp + fn), f1_other * (tn + fp)]) / total),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "accuracy": (tp + tn) / total,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": _share(tp, fp),
        "npv": _share(tn, fn),
    }


def calibration_metrics(labels: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> Metrics:
    """Compute those of `patch_metrics` that tell whether probabilities are as they should be."""
    return {
        "brier": float(np.average((probability - labels) ** 2, weights=weights)),
        "ece": expected_calibration_error(labels, probability, weights),
    }


def _ranking(labels: np.ndarray, values: np.ndarray, weights: np.ndarray) -> Metrics:
    """Compute how well `values` (n,) rank labels (n,); NaN where one class only is drawn."""
    drawn = labels[weights > 0]
    if drawn.min() == drawn.max():
        return {"auc": np.nan, "average_precision": np.nan}
    return {
        "auc": float(roc_auc_score(labels, values, sample_weight=weights)),
        "average_precision": float(average_precision_score(labels, values, sample_weight=weights)),
    }


def _share(hits: float, misses: float) -> float:
    return hits / (hits + misses) if hits + misses else np.nan


def calibration_bins(probability: np.ndarray, bins: int = 15) -> np.ndarray:
    """Return the bin (n,) of each probability among `bins` of equal width."""
    return np.minimum((probability * bins).astype(int), bins - 1)


def expected_calibration_error(labels: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> float:
    """Average the gap between stated and observed probability over equal-width bins, by patches (Guo et al. 2017)."""
    gap = np.bincount(calibration_bins(probability), (probability - labels) * weights)
    return float(np.abs(gap).sum() / weights.sum())


def uncertainty_metrics(
    wrong: np.ndarray, uncertainty: np.ndarray, patients: np.ndarray, resamples: int = 1000
) -> dict[str, Any]:
    """Tell whether uncertainty knows the errors: `wrong` (n,) bool, `uncertainty` (n,), `patients` (n,).

    `auc_of_errors` is how often, of a wrong and a right patch, the wrong one is more uncertain. `quartiles` has for
    each quarter of the patches, the surest first, its range of uncertainty and its share of wrong ones; equal
    uncertainties stay together, so quarters may be uneven, and one without patches has no error rate (NaN).
    """
    quarter = np.searchsorted(np.quantile(uncertainty, (0.25, 0.5, 0.75)), uncertainty)

    def compute(weights: np.ndarray) -> Metrics:
        errors, patches = (np.bincount(quarter, w, 4).tolist() for w in (weights * wrong, weights))
        rates = {str(n): _share(e, p - e) for n, (e, p) in enumerate(zip(errors, patches, strict=True))}
        return rates | {"auc_of_errors": _ranking(wrong, uncertainty, weights)["auc"]}

    found = patient_bootstrap(patients, compute, resamples)
    quartiles = []
    for n in range(4):
        own = uncertainty[quarter == n]
        low, high = (float(own.min()), float(own.max())) if len(own) else (np.nan, np.nan)
        quartiles.append({"from": low, "to": high, "n_patches": len(own), "error_rate": found[str(n)]})
    return {"auc_of_errors": found["auc_of_errors"], "quartiles": quartiles}


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write numbers as JSON, to six decimals; what is not defined becomes null."""
    path.write_text(json.dumps(as_json(values), indent=2) + "\n", encoding="utf-8")
