"""Split patients, never patches: two patches of one patient look alike, and a model that saw one knows the other.

The one exception, `leaky_patch_split`, shows what it adds when that is forgotten.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from wsi_idc.base.files import replacing
from wsi_idc.base.inputs.bounded import read_lines
from wsi_idc.data.kaggle import LabelledPatch, is_listable, read_patients
from wsi_idc.errors import DataError, OutputError

_OFFICIAL = Path(__file__).with_name("official_split.json")
# Probably one hospital (CINJ), the others another (HUP): inferred from the ids, not documented by the authors.
_FIRST_HOSPITAL = range(10253, 10309)

PARTS = ("train", "val", "test")
Split = dict[str, list[str]]
_T = TypeVar("_T")
# Bytes of a list of patches: a million paths.
_LARGEST_LIST = 1 << 26


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
    return _draw(sorted(patients), shares, seed, "patients")


def leaky_patch_split(
    patches: Iterable[LabelledPatch], shares: Sequence[float], seed: int
) -> dict[str, list[LabelledPatch]]:
    """Draw train, val and test with `shares` of the patches, whosever they are: to show what leakage adds.

    A patient has patches in all parts, so a model is measured on patients that it has seen. Many published numbers on
    these patches were taken so; measure with this split and with one of patients, and the difference is the leakage.
    Nothing else is it good for. Raises DataError where a part would be empty.
    """
    return _draw(sorted(patches, key=lambda p: (p.patient, p.y, p.x)), shares, seed, "patches")


def _draw(items: Sequence[_T], shares: Sequence[float], seed: int, what: str) -> dict[str, list[_T]]:
    """Part items at random; each part keeps their order."""
    order = np.random.default_rng(seed).permutation(len(items))
    ends = np.rint(np.cumsum(shares) / sum(shares) * len(items)).astype(int)
    drawn = np.split(order, ends[:-1])
    split = {name: [items[i] for i in sorted(part.tolist())] for name, part in zip(PARTS, drawn, strict=True)}
    if empty := [name for name, part in split.items() if not part]:
        raise DataError(f"{len(items)} {what} in shares of {list(shares)} leave {', '.join(empty)} empty; take others")
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
    test = sorted(p for p in known if p.isdecimal() and int(p) in _FIRST_HOSPITAL)
    if not test or len(test) == len(known):
        raise DataError("the patients are of one hospital only; nothing to hold back")
    return {"train": sorted(known - set(test)), "val": [], "test": test}


def check_split(split: Mapping[str, Iterable[str]]) -> None:
    """Raise DataError where a patient is in two parts of a split."""
    _check(split, "patient", "a patient has one side only")


def _check(split: Mapping[str, Iterable[str]], what: str, why: str) -> None:
    seen: dict[str, str] = {}
    for name, members in split.items():
        for member in members:
            if member in seen:
                raise DataError(f"{what} {member} is in {seen[member]} and in {name}; {why}")
            seen[member] = name


def check_there(folder: Path, listed: Collection[str], there: Collection[str], what: str = "patches of") -> None:
    """Raise DataError, naming the first few, where some that are listed are not among those `there` in `folder`."""
    if missing := sorted(set(listed) - set(there)):
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DataError(f"{folder}: has no {what} {shown}; take them off the list or get their folders")


def check_listable(patients: Iterable[str]) -> None:
    """Raise DataError where a patient has an id that a list cannot hold."""
    if unfit := sorted(p for p in patients if not is_listable(p)):
        raise DataError(f"patient {unfit[0]!r}: lists are parted by white space and commas; rename folder and patches")


def write_split(folder: Path, split: Split, overwrite: bool = False) -> list[Path]:
    """Write `folder/<part>.txt` for each part of a split, a patient a line; return the files.

    Raises DataError where a patient is on two sides or has an id that a list cannot hold, and without `overwrite`
    OutputError where a list is there already.
    """
    check_split(split)
    check_listable(p for part in split.values() for p in part)
    texts = {f"{name}.txt": "".join(f"{p}\n" for p in part) for name, part in split.items()}
    return _write_lists(folder, texts, overwrite)


def write_leaky_split(
    folder: Path, split: Mapping[str, Sequence[LabelledPatch]], data: Path, overwrite: bool = False
) -> list[Path]:
    """Write `folder/<part>.csv` for each part, a patch a row: `path` below `data`, with slashes; return the files.

    Raises OutputError where a list is there already, without `overwrite`.
    """
    texts = {}
    for name, part in split.items():
        table = io.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerows([["path"], *([p.path.relative_to(data).as_posix()] for p in part)])
        texts[f"{name}.csv"] = table.getvalue()
    return _write_lists(folder, texts, overwrite)


def _write_lists(folder: Path, texts: Mapping[str, str], overwrite: bool) -> list[Path]:
    files = [folder / name for name in texts]
    lists = [folder / f"{name}{files[0].suffix}" for name in (*PARTS, "unlisted")]
    if (there := [f for f in lists if f.exists()]) and not overwrite:
        raise OutputError(f"{', '.join(map(str, there))}: already there; choose another -o or give --overwrite")
    for file in set(there) - set(files):
        # Of another split: its patients would be counted to this one.
        file.unlink()
    for file, text in zip(files, texts.values(), strict=True):
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return files


def read_split(folder: Path) -> dict[str, set[str]]:
    """Read the patients of train, val and, where there are such lists, test and unlisted, as `write_split` wrote them.

    Raises DataError where train.txt or val.txt is missing, or a patient is in two lists.
    """
    files = _find_lists(folder, ".txt", ("test", "unlisted"))
    split = {name: read_patients(file) for name, file in files.items()}
    check_split({str(file): sorted(split[name]) for name, file in files.items()})
    return split


def read_leaky_split(folder: Path) -> dict[str, set[str]]:
    """Read the paths of train, val and, where there is such a list, test, as `write_leaky_split` wrote them.

    Raises DataError where train.csv or val.csv is missing, has no column `path`, or a patch is in two lists.
    """
    files = _find_lists(folder, ".csv", ("test",))
    split = {}
    for name, file in files.items():
        try:
            split[name] = {row["path"] for row in csv.DictReader(read_lines(file, _LARGEST_LIST), restval="")}
        except (OSError, KeyError, ValueError, csv.Error) as error:
            raise DataError(f"{file}: is no table with a column path; write it again with data split") from error
    _check({str(file): sorted(split[name]) for name, file in files.items()}, "patch", "a patch has one side only")
    return split


def _find_lists(folder: Path, ending: str, optional: Sequence[str]) -> dict[str, Path]:
    files = {name: folder / f"{name}{ending}" for name in ("train", "val", *optional)}
    for name, file in files.items():
        if name not in optional and not file.is_file():
            raise DataError(f"{file}: no such file; give a folder that wsi-idc data split wrote")
    return {name: file for name, file in files.items() if file.is_file()}
