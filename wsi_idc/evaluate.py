"""Measure a model on labelled patches, by patient: numbers with intervals, a row for each patch, figures, one page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.autotune import choose_engine, make_engine
from wsi_idc.data.kaggle import MISSING, LabelledPatch, index_patches, load_patches, place_patches, read_patients
from wsi_idc.data.split import official_split
from wsi_idc.errors import DataError, OutputError
from wsi_idc.inference import Predictor
from wsi_idc.metrics import Metrics, patch_metrics, patient_bootstrap
from wsi_idc.models.package import ModelPackage


@dataclass(frozen=True, slots=True)
class Predictions:
    """Patches with the probability that a model gave them, and that before its temperature was applied.

    `border` (n,) bool: a neighbour has the other label. `whole_section` (n,) bool: the patches of this patient form a
    section, rather than being a random sample of one.
    """

    patches: list[LabelledPatch]
    probability: np.ndarray
    uncalibrated: np.ndarray
    border: np.ndarray
    whole_section: np.ndarray
    left_out: int

    @property
    def labels(self) -> np.ndarray:
        """Labels (n,) int."""
        return np.array([p.label for p in self.patches])

    @property
    def patients(self) -> np.ndarray:
        """Patient ids (n,) str."""
        return np.array([p.patient for p in self.patches])


def predict_patches(patches: Sequence[LabelledPatch], predictor: Predictor) -> Predictions:
    """Predict patches, each with its neighbours of the same patient.

    Patches of another size than the model's are left out and counted. Raises DataError where nothing is left.
    """
    size = predictor.package.patch_size
    probability, border, whole, kept, left_out = [], [], [], [], 0
    for patient in sorted({p.patient for p in patches}):
        pixels, labels, own = load_patches(listed := [p for p in patches if p.patient == patient], size)
        left_out += len(listed) - len(own)
        if not own:
            continue
        grid = place_patches(own, size)[patient]
        present = grid != MISSING
        canvas = np.zeros((*grid.shape, size, size, 3), np.uint8)
        canvas[present] = pixels[grid[present]]
        rows, cols = grid.shape
        found = predictor.block(canvas.swapaxes(1, 2).reshape(rows * size, cols * size, 3), present)
        numbers = grid[present]
        order = np.argsort(numbers)
        same, other = _neighbours(present, np.where(present, labels[grid].astype(int), MISSING))
        probability.append(found[present][order])
        border.append((other[present] > 0)[order])
        # Most patches of a section have a neighbour on at least three sides; a sample of one in five has hardly any.
        whole.append(np.full(len(own), np.median((same + other)[present]) >= 3))
        kept += [own[n] for n in numbers[order]]
    if not kept:
        raise DataError(f"no patch is {size}x{size} pixels, which is what {predictor.package.name} takes")
    joined = np.concatenate(probability)
    temperature = predictor.package.temperature
    odds = np.log(np.clip(joined, 1e-7, 1 - 1e-7)) - np.log1p(-np.clip(joined, 1e-7, 1 - 1e-7))
    uncalibrated = 1 / (1 + np.exp(-odds * temperature))
    return Predictions(kept, joined, uncalibrated, np.concatenate(border), np.concatenate(whole), left_out)


def _neighbours(present: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count for each place its four neighbours of the same label, and those of the other."""
    padded = np.pad(labels, 1, constant_values=MISSING)
    same, other = np.zeros(present.shape, int), np.zeros(present.shape, int)
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        beside = padded[dy : dy + present.shape[0], dx : dx + present.shape[1]]
        same += (beside != MISSING) & (beside == labels)
        other += (beside != MISSING) & (beside != labels)
    return same, other


def measure(predictions: Predictions, threshold: float, resamples: int = 1000) -> dict[str, Any]:
    """Compute what metrics.json holds: all patches, then groups of them, then each patient."""
    labels, probability, patients = predictions.labels, predictions.probability, predictions.patients

    def group(rows: np.ndarray, values: np.ndarray = probability) -> dict[str, Any]:
        own_labels, own_values = labels[rows], values[rows]

        def compute(draw: np.ndarray) -> Metrics:
            return patch_metrics(own_labels[draw], own_values[draw], threshold)

        counts = {"n_patches": int(rows.sum()), "n_patients": len(set(patients[rows].tolist()))}
        return counts | patient_bootstrap(patients[rows], compute, resamples) if rows.any() else counts

    everything = np.ones(len(labels), bool)
    groups = {
        "whole_sections": predictions.whole_section,
        "sampled_patients": ~predictions.whole_section,
        "border": predictions.border,
        "interior": ~predictions.border,
    }
    per_patient = {}
    for patient in sorted(set(patients.tolist())):
        own = patients == patient
        values = patch_metrics(labels[own], probability[own], threshold)
        per_patient[patient] = {"n_patches": int(own.sum()), "n_idc": int(labels[own].sum())} | values
    return {
        "threshold": threshold,
        **group(everything),
        "before_calibration": group(everything, predictions.uncalibrated),
        "groups": {name: group(rows) for name, rows in groups.items()},
        "per_patient": per_patient,
        "left_out": predictions.left_out,
    }


def write_predictions(path: Path, predictions: Predictions, threshold: float) -> None:
    """Write a Parquet table with a row for each patch."""
    import pyarrow as pa
    from pyarrow import parquet

    patches: Sequence[LabelledPatch] = predictions.patches
    columns = {
        "patient": [p.patient for p in patches],
        "x": [p.x for p in patches],
        "y": [p.y for p in patches],
        "label": [p.label for p in patches],
        "probability": predictions.probability,
        "uncalibrated": predictions.uncalibrated.astype(np.float32),
        "idc": predictions.probability >= threshold,
        "border": predictions.border,
        "whole_section": predictions.whole_section,
    }
    parquet.write_table(pa.table(columns), path)


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write metrics.json; what is not defined becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, list):
            return [plain(v) for v in value]
        if isinstance(value, float):
            return round(value, 6) if np.isfinite(value) else None
        return value

    path.write_text(json.dumps(plain(metrics), indent=2) + "\n", encoding="utf-8")


def evaluate_model(
    data: Path,
    package: ModelPackage,
    output: Path,
    *,
    split: str | None = None,
    patients_file: Path | None = None,
    engine: str = "auto",
) -> dict[str, Any]:
    """Measure `package` on patients of the official `split`, or of a file, and write the results into `output`.

    The folder must be new or empty (OutputError), so that two evaluations are never mixed. Returns the metrics.
    """
    from wsi_idc.plots import draw_figures
    from wsi_idc.report import write_evaluation

    if output.exists() and any(output.iterdir()):
        raise OutputError(f"{output}: is not empty; choose another -o")
    if patients_file:
        patients = read_patients(patients_file)
    else:
        patients = set(official_split({p.name for p in data.iterdir() if p.is_dir()})[split or "test"])
    if not patients:
        raise DataError(f"{data}: has no patient of the {split} part; give --patients FILE")
    patches = index_patches(data, patients)
    name = choose_engine(engine, package, len(patches))
    predictions = predict_patches(patches, Predictor(package, make_engine(name, package)))
    metrics = measure(predictions, package.threshold)
    metrics["model"] = {"name": package.name, "version": package.version, "sha256": package.sha256}
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as temporary:
        place = Path(temporary) / output.name
        figures = draw_figures(place / "figures", predictions, package.threshold)
        write_predictions(place / "predictions.parquet", predictions, package.threshold)
        write_evaluation(place / "report.html", metrics, figures)
        write_metrics(place / "metrics.json", metrics)
        # An empty folder may be replaced by rename, another one was refused above.
        place.rename(output)
    return metrics
