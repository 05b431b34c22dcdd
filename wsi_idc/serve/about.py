"""What IDC is, what the model is, how well it was measured to do, and what it cannot, in plain words."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from wsi_idc.base.pages.render import render
from wsi_idc.models.package import ModelPackage
from wsi_idc.runs.results.summary import RESEARCH_USE
from wsi_idc.runs.results.words import WORDS

# What is measured, by its key in model.json, and what that means for a patch.
_MEASURED = (
    (
        "auc",
        "AUC",
        "how often a patch with IDC gets a higher probability than one without (0.5: chance, 1: always)",
    ),
    ("sensitivity", "sensitivity", "of the patches that the pathologist marked as IDC, the share that is found"),
    ("specificity", "specificity", "of the patches not marked as IDC, the share that is left alone"),
    ("precision", "precision", "of the patches called IDC, the share that the pathologist marked, in these slides"),
    ("f1", "F1", "sensitivity and precision in one number"),
    ("balanced_accuracy", "balanced accuracy", "the mean of sensitivity and specificity"),
)


def about(package: ModelPackage) -> str:
    """Return the page about a model."""
    measured: dict[str, Any] = (package.metrics or {}).get("val", {})
    rows = [
        {"name": name, "meaning": meaning, "value": f"{entry['value']:.3f}", "interval": _interval(entry)}
        for key, name, meaning in _MEASURED
        if isinstance(entry := measured.get(key), dict)
    ]
    return render(
        "about.html",
        note=RESEARCH_USE,
        tool=f"wsi-idc {version('wsi-idc')}",
        model=f"{package.name} {package.version}",
        um=f"{package.patch_size * package.mpp:g}",
        mpp=f"{package.mpp:g}",
        threshold=f"{package.threshold:.2f}",
        training=package.training_data,
        patients=measured.get("patients"),
        patches=measured.get("patches"),
        measured=rows,
        words=WORDS,
    )


def _interval(entry: dict[str, Any]) -> str:
    low, high = entry["ci95"] if entry.get("ci95") else (None, None)
    return "" if low is None else f"{low:.3f} to {high:.3f}"
