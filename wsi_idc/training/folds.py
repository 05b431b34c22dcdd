"""Train once for each fold of the patients, and keep what every model says of patients that it has not seen."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.base.files import locked, replacing
from wsi_idc.base.inputs.documents import read_json
from wsi_idc.data.kaggle import index_patches, read_patients
from wsi_idc.data.split import Split, hospital_split, official_split, write_split
from wsi_idc.errors import DataError, OutputError
from wsi_idc.evaluation.metrics import write_json
from wsi_idc.training.calibrate import calibrate
from wsi_idc.training.config import TrainConfig, override
from wsi_idc.training.left.reading import read_logits
from wsi_idc.training.run import Hooks, train

SPLITS, OUT_OF_FOLD, FOLDS = "splits", "out-of-fold.csv", "folds.json"
_LARGEST = 1 << 24
HOSPITAL = "hospital"


def fold_splits(data: Path, how: int | str, seed: int) -> dict[str, Split]:
    """Part the patients of `data` that are not in the official test list: by name of the fold, train and val.

    `how` is a number of folds, drawn with `seed`, each of which is val once; or "hospital": both of the two hospitals
    are val once. Raises DataError where there are not patients enough.
    """
    official = official_split({p.patient for p in index_patches(data)})
    patients = sorted(set().union(*official.values()) - set(official["test"]))
    if how == HOSPITAL:
        parted = hospital_split(patients)
        sides = {"hospital-a": parted["test"], "hospital-b": parted["train"]}
    else:
        number = int(how)
        if not 2 <= number <= len(patients):
            raise DataError(f"{len(patients)} patients do not give {number} folds; at least 2, with a patient each")
        order = np.random.default_rng(seed).permutation(patients).tolist()
        sides = {f"fold-{n}": sorted(order[n::number]) for n in range(number)}
    return {name: {"train": sorted(set(patients) - set(held)), "val": held} for name, held in sides.items()}


def train_folds(
    data: Path,
    config: TrainConfig,
    how: int | str,
    folder: Path,
    hooks: Hooks | None = None,
    on_fold: Callable[[str, dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train `config` for each of `fold_splits` into `folder/<fold>`; called again, it goes on where it was.

    Leaves the lists of patients in `folder/splits`, `out-of-fold.csv`, a row for each patch with the logit of the model
    that had not seen its patient, and `folds.json`: metrics of each fold; and of all patches together, temperature and
    threshold, fitted on them, with metrics cross-validated over the patients. Returns what `folds.json` holds.
    Raises OutputError where `folder` holds other folds, as of another number, or of patients of whom some came or went.
    """
    splits = fold_splits(data, how, config.fit.seed)
    with locked(folder):
        _claim(folder, splits)
        return _train_each(data, config, splits, folder, hooks or Hooks(), on_fold)


def _claim(folder: Path, splits: Mapping[str, Split]) -> None:
    """Keep the lists of patients of each fold, or see that they are those that were kept."""
    lists = folder / SPLITS
    drawn = {lists / name / f"{part}.txt": part_of for name, own in splits.items() for part, part_of in own.items()}
    known = {SPLITS, OUT_OF_FOLD, FOLDS, *splits}
    if others := sorted(p.name for p in folder.iterdir() if not p.name.startswith(".") and p.name not in known):
        raise OutputError(f"{folder}: holds {others[0]}, which is of none of these folds; choose another -o")
    for file in sorted(lists.glob("*/[!.]*")):
        if file not in drawn or read_patients(file) != set(drawn[file]):
            raise OutputError(
                f"{file}: is of other folds (kind, number, seed or patients) than would be drawn now; choose another -o"
            )
    for name, split in splits.items():
        # Those that are there are the same; a kill may have left one without the other.
        write_split(lists / name, split, overwrite=True)


def _train_each(
    data: Path,
    config: TrainConfig,
    splits: Mapping[str, Split],
    folder: Path,
    hooks: Hooks,
    on_fold: Callable[[str, dict[str, Any]], None] | None,
) -> dict[str, Any]:
    rows: list[dict[str, str]] = []
    results = {}
    for name in splits:
        lists = folder / SPLITS / name
        own = override(config, {"data.split": str(lists), "data.train": ["train"], "data.val": ["val"]})
        result = train(data, own, folder / name, hooks)
        results[name] = result["metrics"]["val"]
        rows += [{**row, "fold": name} for row in read_logits(folder / name)]
        if on_fold:
            on_fold(name, results[name])
    with replacing(folder / OUT_OF_FOLD) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    logits = np.array([float(r["logit"]) for r in rows], np.float32)
    labels = np.array([int(r["label"]) for r in rows], np.uint8)
    patients = np.array([r["patient"] for r in rows])
    together = calibrate(logits, labels, patients, np.zeros(len(rows), bool))
    together["metrics"] = {"out_of_fold": together["metrics"]["val"]}
    with replacing(folder / FOLDS) as temporary:
        write_json(temporary, {"folds": results, **together})
    return dict(read_json(folder / FOLDS, _LARGEST))
