"""Intervals from a bootstrap over patients, and numbers with intervals as JSON holds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Metrics = dict[str, float]
# Takes how often each patch, or slide, counts, (n,), and gives the metrics of that resample.
Compute = Callable[[np.ndarray], Metrics]


def patient_bootstrap(
    patients: np.ndarray, compute: Compute, resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Give each metric with its 95 % interval: {"value", "ci95": [low, high]}.

    `compute` takes how often each patch counts. Whole patients are drawn with replacement, since patches of one patient
    are alike: an interval over patches would be far too narrow. Draws on which a metric is not defined are left out of
    its interval. With a single patient there is no interval: both ends are NaN.
    """
    value = compute(np.ones(len(patients), int))
    names, owner = np.unique(patients, return_inverse=True)
    count = len(names)
    rng = np.random.default_rng(seed)
    drawn = [
        compute(np.bincount(rng.integers(0, count, count), minlength=count)[owner])
        for _ in range(resamples if count > 1 else 0)
    ]
    found: dict[str, dict[str, Any]] = {}
    for name, v in value.items():
        column = np.array([d[name] for d in drawn])
        column = column[np.isfinite(column)]
        interval = np.percentile(column, [2.5, 97.5]).tolist() if len(column) else [np.nan, np.nan]
        found[name] = {"value": v, "ci95": interval}
    return found


def as_json(value: Any) -> Any:
    """Return nested dicts and lists with their numbers to six decimals; what is not defined becomes None."""
    if isinstance(value, dict):
        return {key: as_json(v) for key, v in value.items()}
    if isinstance(value, list):
        return [as_json(v) for v in value]
    if isinstance(value, float):
        return round(float(value), 6) if np.isfinite(value) else None
    return value
