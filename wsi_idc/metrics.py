"""Numbers of a binary classifier of patches, with intervals from a bootstrap over patients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

Metrics = dict[str, float]


def patch_metrics(labels: np.ndarray, probability: np.ndarray, threshold: float) -> Metrics:
    """Compute the metrics of patches: `labels` (n,) 0 or 1, `probability` (n,), IDC from `threshold` on.

    F1, sensitivity and precision are of the IDC class; `weighted_f1` averages both classes by their size, and is the
    figure that some publications call F1. A metric that is not defined (one class only) is NaN.
    """
    tn, fp, fn, tp = confusion_matrix(labels, probability >= threshold, labels=[0, 1]).ravel().tolist()
    both = 0 < labels.sum() < len(labels)
    sensitivity, specificity = _share(tp, fn), _share(tn, fp)
    # F1 of each class, 2 TP / (2 TP + FP + FN); a class that neither occurs nor is found weighs nothing.
    f1, f1_other = _share(2 * tp, fp + fn), _share(2 * tn, fp + fn)
    weighted = np.nansum([f1 * (tp + fn), f1_other * (tn + fp)]) / len(labels)
    return {
        "auc": float(roc_auc_score(labels, probability)) if both else np.nan,
        "average_precision": float(average_precision_score(labels, probability)) if both else np.nan,
        "f1": f1,
        "weighted_f1": float(weighted),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "accuracy": (tp + tn) / len(labels),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": _share(tp, fp),
        "npv": _share(tn, fn),
        "brier": float(np.mean((probability - labels) ** 2)),
        "ece": expected_calibration_error(labels, probability),
    }


def _share(hits: int, misses: int) -> float:
    return hits / (hits + misses) if hits + misses else np.nan


def expected_calibration_error(labels: np.ndarray, probability: np.ndarray, bins: int = 15) -> float:
    """Average the gap between stated and observed probability over equal-width bins, by patches (Guo et al. 2017)."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    gap = np.bincount(place, weights=probability - labels, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def patient_bootstrap(
    patients: np.ndarray,
    compute: Callable[[np.ndarray], Metrics],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float | list[float]]]:
    """Give each metric with its 95 % interval: {"value", "ci95": [low, high]}.

    `compute` takes row numbers. Whole patients are drawn with replacement, since patches of one patient are alike: an
    interval over patches would be far too narrow. With a single patient there is no interval: both ends are NaN.
    """
    value = compute(np.arange(len(patients)))
    _, owner = np.unique(patients, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(owner))[:-1])
    rng = np.random.default_rng(seed)
    drawn = [
        compute(np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))]))
        for _ in range(resamples if len(rows) > 1 else 0)
    ]
    found: dict[str, dict[str, float | list[float]]] = {}
    for name, v in value.items():
        column = np.array([d[name] for d in drawn])
        column = column[np.isfinite(column)]
        interval = np.percentile(column, [2.5, 97.5]).tolist() if len(column) else [np.nan, np.nan]
        found[name] = {"value": v, "ci95": interval}
    return found
