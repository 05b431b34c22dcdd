"""What models say of labelled patches, beside what is true of them, and the tables that are written of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from sklearn.metrics import classification_report

from wsi_idc.data.content import pixel_digest
from wsi_idc.data.kaggle import (
    MISSING,
    LabelledPatch,
    count_neighbours,
    is_whole_section,
    load_patches,
    place_patches,
)
from wsi_idc.errors import DataError, ModelError
from wsi_idc.evaluation.metrics import (
    write_json,
)
from wsi_idc.evaluation.perturb import Perturbation
from wsi_idc.inference.ensemble import Ensemble

CLASSES = ["not IDC", "IDC"]


@dataclass(frozen=True, slots=True)
class Predictions:
    """Patches with the probability of IDC that was found for them, and that before calibration.

    `uncertainty` (n,) is the standard deviation of the probability over models and views, None where there is one.
    `border` (n,) bool: a neighbour has the other label. `whole_section` (n,) bool: the patches of this patient form a
    section, rather than being a random sample of one, so that its neighbours are known. `digests` (n,) str are those of
    the pixels that were found, before any perturbation.
    """

    patches: list[LabelledPatch]
    probability: np.ndarray
    uncalibrated: np.ndarray
    uncertainty: np.ndarray | None
    border: np.ndarray
    whole_section: np.ndarray
    digests: np.ndarray
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
    patches: Sequence[LabelledPatch],
    ensemble: Ensemble,
    perturbation: Perturbation | None = None,
    on_patches: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict patches, each with its neighbours of the same patient; with a `perturbation`, what is made of them by it.

    Patches of another size than the models' are left out and counted, and so is a second one at a place. `on_patches`
    is told of a patient's patches as they are done. Raises
    DataError where nothing is left, ModelError where what comes out is no number.
    """
    size = ensemble.patch_size
    found, kept = [], []
    for patient, listed in groupby(sorted(patches, key=lambda p: p.patient), key=lambda p: p.patient):
        pixels, _, own = load_patches(theirs := list(listed), size)
        if on_patches:
            on_patches(len(theirs))
        if not own:
            continue
        grid = place_patches(own, size)[patient]
        present = grid != MISSING
        combined = ensemble.look(_block(pixels, grid, perturbation), present)
        idc = present & (np.array([p.label for p in own])[grid] == 1)
        border = np.where(idc, count_neighbours(present & ~idc), count_neighbours(idc)) > 0
        whole = np.full(grid.shape, is_whole_section(present))
        digests = np.array([pixel_digest(patch).hex() for patch in pixels])[grid]
        columns = (combined.probability, combined.uncalibrated, combined.uncertainty, border, whole, digests)
        found.append([column[present] for column in columns])
        kept += [own[n] for n in grid[present]]
    names = " and ".join(p.name for p in ensemble.packages)
    if not kept:
        raise DataError(f"no patch is {size}x{size} pixels, which is what {names} takes")
    joined = [np.concatenate(c) for c in zip(*found, strict=True)]
    probability, uncalibrated, uncertainty, border, whole, digests = joined
    if lost := int(np.isnan(probability).sum()):
        raise ModelError(f"{names}: gives no number for {lost} of {len(kept)} patches; train or install it again")
    spread = uncertainty if ensemble.n_views > 1 else None
    return Predictions(kept, probability, uncalibrated, spread, border, whole, digests, len(patches) - len(kept))


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


def write_predictions(path: Path, predictions: Predictions, threshold: float) -> None:
    """Write a Parquet table with a row for each patch; by `digest` others of its name are told from it."""
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
        "digest": predictions.digests,
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
