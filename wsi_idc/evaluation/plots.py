"""Figures of an evaluation, each as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay

from wsi_idc.base.pages.figures import Panel, draw_panels
from wsi_idc.evaluation.metrics import calibration_bins, decision_metrics
from wsi_idc.evaluation.predictions import CLASSES, Predictions


def draw_figures(folder: Path, predictions: Predictions, threshold: float) -> list[Path]:
    """Draw confusion matrix, ROC, precision-recall, reliability and threshold curves; return the PNG files.

    Where all patches are of one class, ROC and precision-recall say so in place of a curve.
    """
    figures: dict[str, Panel] = {
        "confusion_matrix": lambda axes: _confusion(axes, predictions, threshold),
        "roc": lambda axes: _roc(axes, predictions),
        "precision_recall": lambda axes: _precision_recall(axes, predictions),
        "reliability": lambda axes: _reliability(axes, predictions),
        "threshold_curves": lambda axes: _threshold_curves(axes, predictions, threshold),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [draw_panels(folder / f"{name}.png", [draw]) for name, draw in figures.items()]


def _confusion(axes: Axes, predictions: Predictions, threshold: float) -> None:
    ConfusionMatrixDisplay.from_predictions(
        predictions.labels,
        predictions.probability >= threshold,
        labels=[0, 1],
        display_labels=CLASSES,
        ax=axes,
        colorbar=False,
        cmap="Blues",
    )
    axes.set(title=f"Patches at threshold {threshold:.3f}", xlabel="predicted", ylabel="labelled")


def _curve(axes: Axes, predictions: Predictions, display: Any) -> None:
    """Draw a curve of scikit-learn's `display`, or say why there is none."""
    labels = predictions.labels
    if len(np.unique(labels)) == 2:
        display.from_predictions(labels, predictions.probability, ax=axes, plot_chance_level=True, name="patches")
    else:
        _not_defined(axes, labels)


def _roc(axes: Axes, predictions: Predictions) -> None:
    _curve(axes, predictions, RocCurveDisplay)
    axes.set(title="ROC", xlabel="1 - specificity", ylabel="sensitivity")


def _precision_recall(axes: Axes, predictions: Predictions) -> None:
    _curve(axes, predictions, PrecisionRecallDisplay)
    axes.set(title="Precision and recall", xlabel="recall (sensitivity)", ylabel="precision")


def _reliability(axes: Axes, predictions: Predictions) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect")
    stages = ((predictions.uncalibrated, "before calibration"), (predictions.probability, "after calibration"))
    for values, name in stages:
        stated, observed = _observed(predictions.labels, values)
        axes.plot(stated, observed, marker="o", label=name)
    # Wide enough for whole markers at 0 and 1.
    ends = (-0.02, 1.02)
    axes.set(title="Reliability", xlabel="stated probability", ylabel="share of IDC", xlim=ends, ylim=ends)
    axes.legend()


def _threshold_curves(axes: Axes, predictions: Predictions, threshold: float) -> None:
    thresholds = np.linspace(0.01, 0.99, 99)
    values = [decision_metrics(predictions.labels, predictions.probability >= t) for t in thresholds]
    for name in ("f1", "balanced_accuracy", "sensitivity", "specificity"):
        line = [v[name] for v in values]
        if np.isfinite(line).any():
            axes.plot(thresholds, line, label=name.replace("_", " "))
    axes.axvline(threshold, color="grey", linestyle="--", label="threshold")
    axes.set(title="By threshold", xlabel="threshold", xlim=(0, 1), ylim=(0, 1))
    axes.legend()


def draw_robustness(folder: Path, robustness: Mapping[str, Any]) -> Path:
    """Draw, for each perturbation, how far F1 and AUC fall and how many patches change class; return the PNG file."""
    names = list(robustness["perturbations"])
    values = list(robustness["perturbations"].values())
    at, own = np.arange(len(names)), robustness["unperturbed"]

    def against(axes: Axes, key: str, title: str, changes: list[float], bar: float) -> None:
        axes.barh(at, changes, color=["#c1440e" if c > bar else "#3b6ea5" for c in changes])
        axes.axvline(bar, color="grey", linestyle="--")
        axes.set(title=title, xlabel=key, ylim=(len(names) - 0.4, -0.6))
        axes.set_yticks(at, names, fontsize=7)
        axes.grid(axis="x", alpha=0.3)

    panels: list[Panel] = [
        lambda axes: against(axes, "fall of AUC", "AUC", [own["auc"] - v["auc"] for v in values], 0.008),
        lambda axes: against(axes, "fall of F1", "F1", [own["f1"] - v["f1"] for v in values], 0.02),
        lambda axes: against(axes, "share", "Patches that change class", [v["changed"] for v in values], 0.03),
    ]
    return draw_panels(folder / "robustness.png", panels, size=(4.6, 0.16 * len(names) + 1))


def _not_defined(axes: Axes, labels: np.ndarray) -> None:
    text = f"not defined:\nevery patch is labelled {CLASSES[labels[0]]}"
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)


def _observed(labels: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean stated probability and share of IDC for each equal-width bin that is not empty."""
    place = calibration_bins(probability)
    count = np.bincount(place)
    filled = count > 0
    stated, observed = (np.bincount(place, values)[filled] / count[filled] for values in (probability, labels))
    return stated, observed
