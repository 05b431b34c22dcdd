"""Split patients, never patches: two patches of one patient look alike, and a model that saw one knows the other."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from wsi_idc.errors import DataError, OutputError

_OFFICIAL = Path(__file__).with_name("official_split.json")
# Probably one hospital (CINJ), the others another (HUP): inferred from the ids, not documented by the authors.
_FIRST_HOSPITAL = range(10253, 10309)

Split = dict[str, list[str]]


def official_split(patients: Collection[str]) -> Split:
    """Sort `patients` into train, val and test of Cruz-Roa 2014 / Janowczyk 2016, and "unlisted" (in none of them)."""
    lists = json.loads(_OFFICIAL.read_text(encoding="utf-8"))
    split = {name: sorted(set(lists[name]) & set(patients)) for name in ("train", "val", "test")}
    split["unlisted"] = sorted(set(patients) - set().union(*split.values()))
    return split


def random_split(patients: Iterable[str], shares: Sequence[float], seed: int) -> Split:
    """Draw train, val and test with `shares` of the patients, such as (72, 8, 20); the same for the same seed.

    Raises DataError where a part would be empty.
    """
    order = np.random.default_rng(seed).permutation(sorted(patients)).tolist()
    ends = np.rint(np.cumsum(shares) / sum(shares) * len(order)).astype(int)
    split = {n: sorted(part) for n, part in zip(("train", "val", "test"), np.split(order, ends[:-1]), strict=True)}
    split = {name: [str(p) for p in part] for name, part in split.items()}
    if empty := [name for name, part in split.items() if not part]:
        raise DataError(f"{len(order)} patients in shares of {list(shares)} leave {', '.join(empty)} empty")
    return split


def fold_split(patients: Iterable[str], folds: int, fold: int, seed: int) -> Split:
    """Return fold `fold` of `folds`: its patients are the test part, those of the next fold val, the others train."""
    if not 0 <= fold < folds:
        raise DataError(f"fold {fold} is not one of 0 to {folds - 1}")
    order = np.random.default_rng(seed).permutation(sorted(patients)).tolist()
    if folds < 3 or len(order) < folds:
        raise DataError(f"{len(order)} patients do not give {folds} folds; at least 3 folds, with a patient each")
    parts = [sorted(order[i::folds]) for i in range(folds)]
    val = (fold + 1) % folds
    train = sorted(p for i, part in enumerate(parts) if i not in (fold, val) for p in part)
    return {"train": train, "val": parts[val], "test": parts[fold]}


def hospital_split(patients: Iterable[str]) -> Split:
    """Hold one hospital back: ids 10253 to 10308 are the test part, the others train; choose val from these."""
    known = set(patients)
    test = sorted(p for p in known if p.isdigit() and int(p) in _FIRST_HOSPITAL)
    if not test or len(test) == len(known):
        raise DataError("the patients are of one hospital only; nothing to hold back")
    return {"train": sorted(known - set(test)), "val": [], "test": test}


def check_split(split: Split) -> None:
    """Raise DataError where a patient is in two parts of a split."""
    seen: dict[str, str] = {}
    for name, patients in split.items():
        for patient in patients:
            if patient in seen:
                raise DataError(f"patient {patient} is in {seen[patient]} and in {name}; a patient has one side only")
            seen[patient] = name


def write_split(folder: Path, split: Split) -> list[Path]:
    """Write `folder/<part>.txt` for each part of a split, a patient a line; return the files.

    Raises DataError where a patient is on two sides, OutputError where a list is there already.
    """
    check_split(split)
    files = [folder / f"{name}.txt" for name in split]
    if there := [str(f) for f in files if f.exists()]:
        raise OutputError(f"{', '.join(there)}: already there; choose another -o")
    folder.mkdir(parents=True, exist_ok=True)
    for file, patients in zip(files, split.values(), strict=True):
        file.write_text("".join(f"{p}\n" for p in patients), encoding="utf-8")
    return files
