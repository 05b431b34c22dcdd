"""How much of what a model says changes when the same tissue comes as other pixels, or with less cancer beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from wsi_idc.data.kaggle import LabelledPatch
from wsi_idc.evaluation.metrics import decision_metrics, expected_calibration_error
from wsi_idc.evaluation.perturb import PERTURBATIONS, PREVALENCES, SET_VERSION
from wsi_idc.evaluation.predictions import Predictions, predict_patches
from wsi_idc.inference.ensemble import Ensemble


def measure_robustness(
    patches: Sequence[LabelledPatch],
    ensemble: Ensemble,
    reference: Predictions,
    on_change: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Predict `patches` under each perturbation of the set, and compare with `reference`, what is said of them as is.

    Returns the version of the set, how many patches and patients; "unperturbed" and "perturbations", by name: AUC, F1,
    balanced accuracy, specificity, ECE, the share of patches that change class, the mean shift of the probability, and
    the area and the Dice coefficient of the IDC patches against those of the reference; "prevalence", by the share of
    IDC patches left in each section: the same for the patches that are left. What is not defined is NaN.
    """
    threshold, total = ensemble.threshold, len(PERTURBATIONS) + len(PREVALENCES)
    changed = {}
    for number, (name, perturbation) in enumerate(PERTURBATIONS.items(), 1):
        found = predict_patches(patches, ensemble, perturbation)
        changed[name] = compare_predictions(reference.labels, found.probability, reference.probability, threshold)
        if on_change:
            on_change(name, number, total)
    prevalence = {}
    for number, share in enumerate(PREVALENCES, len(PERTURBATIONS) + 1):
        left = thinned(reference.patches, share)
        found = predict_patches([reference.patches[row] for row in left], ensemble)
        before = reference.probability[left]
        prevalence[f"{share:g}"] = compare_predictions(found.labels, found.probability, before, threshold)
        if on_change:
            on_change(f"{share:.0%} of the IDC patches", number, total)
    own = compare_predictions(reference.labels, reference.probability, reference.probability, threshold)
    return {
        "set_version": SET_VERSION,
        "n_patches": len(reference.patches),
        "n_patients": len(np.unique(reference.patients)),
        "unperturbed": own,
        "perturbations": changed,
        "prevalence": prevalence,
    }


def compare_predictions(
    labels: np.ndarray, probability: np.ndarray, before: np.ndarray, threshold: float
) -> dict[str, float]:
    """Compare probabilities (n,) with those `before` (n,) of the same patches, with labels (n,)."""
    positive, was = probability >= threshold, before >= threshold
    both = len(np.unique(labels)) == 2
    decided = decision_metrics(labels, positive)
    return {
        "auc": float(roc_auc_score(labels, probability)) if both else np.nan,
        "f1": decided["f1"],
        "balanced_accuracy": decided["balanced_accuracy"],
        "specificity": decided["specificity"],
        "ece": expected_calibration_error(labels, probability, np.ones(len(labels))),
        "changed": float((positive != was).mean()),
        "mean_shift": float((probability - before).mean()),
        "area_ratio": float(positive.sum() / was.sum()) if was.any() else np.nan,
        "dice": float(2 * (positive & was).sum() / (positive.sum() + was.sum())) if (positive | was).any() else np.nan,
    }


def thinned(patches: Sequence[LabelledPatch], share: float) -> np.ndarray:
    """Return the row numbers that are left when only `share` of each patient's IDC patches are; the same every time."""
    left = []
    patients = np.array([p.patient for p in patches])
    labels = np.array([p.label for p in patches])
    rng = np.random.default_rng(0)
    for patient in np.unique(patients):
        idc = np.flatnonzero((patients == patient) & (labels == 1))
        left.append(rng.permutation(idc)[: round(share * len(idc))])
    return np.sort(np.concatenate([np.flatnonzero(labels == 0), *left]))
