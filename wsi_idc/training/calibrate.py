"""Temperature and threshold, fitted on validation patients and kept in the model package."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.metrics import precision_recall_curve


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature that minimises the log loss of `labels` under `logits / T` (Guo et al. 2017)."""
    sign = np.where(labels == 1, 1.0, -1.0)

    def log_loss(log_t: float) -> float:
        return float(np.logaddexp(0, -sign * logits.astype(np.float64) / np.exp(log_t)).mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=(-3, 3), method="bounded").x))


def fit_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Find the probability threshold with the highest F1 of the IDC class (positive means >= threshold)."""
    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[int(np.argmax(f1[:-1]))])


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Turn logits into calibrated probabilities: sigmoid(logits / temperature), float32."""
    return expit(logits / temperature).astype(np.float32)


def cross_validated(
    logits: np.ndarray, patients: np.ndarray, labels: np.ndarray, folds: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """Calibrate each patient by temperature and threshold fitted on other patients only.

    Returns probabilities (n,) float32 and decisions (n,) bool: what the choices are worth on patients never seen.
    """
    probability = np.empty(len(labels), np.float32)
    positive = np.empty(len(labels), bool)
    names = np.unique(patients)
    for fold in range(min(folds, len(names))):
        here = np.isin(patients, names[fold::folds])
        temperature = fit_temperature(logits[~here], labels[~here])
        threshold = fit_threshold(probabilities(logits[~here], temperature), labels[~here])
        probability[here] = probabilities(logits[here], temperature)
        positive[here] = probability[here] >= threshold
    return probability, positive
