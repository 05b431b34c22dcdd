"""Observers beside each other: their counts on the same fields, mark by mark, and kappa of their scores over slides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from wsi_idc.errors import DataError
from wsi_idc.grading.record import JSON, Record, person, read_record
from wsi_idc.grading.worksheet import SheetField

SCORES = ("tubules", "pleomorphism", "mitoses", "grade")
# Two marks as near are of one mitosis: a nucleus is 6 to 12 um wide.
SAME_UM = 10.0


def find_records(paths: Iterable[Path]) -> list[Record]:
    """Return the worksheets in files and folders: of an observer and a slide the one that was saved last.

    Raises DataError where one cannot be read, or where there is none.
    """
    given = [*paths]
    files = [f for path in given for f in (sorted(path.rglob(JSON)) if path.is_dir() else [path])]
    latest: dict[tuple[str, str], Record] = {}
    for record in map(read_record, dict.fromkeys(files)):
        key = record.sheet.basis.fingerprint, person(record.observer)
        if key not in latest or record.saved >= latest[key].saved:
            latest[key] = record
    if not latest:
        raise DataError(f"{', '.join(map(str, given))}: no {JSON} in there; wsi-idc view saves them beside a run")
    return [latest[key] for key in sorted(latest)]


def compare_observers(records: Sequence[Record]) -> dict[str, Any]:
    """Compare each two observers on the slides that both judged; see docs/grading.md for the keys.

    Raises DataError where no slide has two observers, or two had one at different scales.
    """
    # As who saved last wrote the name.
    names = {person(r.observer): r.observer for r in sorted(records, key=lambda r: r.saved)}
    pairs = []
    for first, second in combinations(sorted(names), 2):
        of = [{r.sheet.basis.fingerprint: r for r in records if person(r.observer) == who} for who in (first, second)]
        both = [(of[0][slide], of[1][slide]) for slide in of[0] if slide in of[1]]
        if both:
            slides = [_of_slide(*two) for two in both]
            pairs.append({"observers": [names[first], names[second]], "slides": slides, "kappa": _kappas(slides)})
    if not pairs:
        raise DataError(f"no slide was judged by two observers; found are {', '.join(sorted(names.values()))}")
    return {"same_um": SAME_UM, "pairs": pairs}


def kappa(first: Sequence[int], second: Sequence[int], levels: int = 3, weighted: bool = False) -> float | None:
    """Return Cohen's kappa of two ratings, 1 to `levels`; `weighted` by the square of their difference.

    None where it is not defined: without ratings, or where chance alone would make both agree in all.
    """
    if not len(first):
        return None
    table = np.zeros((levels, levels))
    np.add.at(table, (np.array(first) - 1, np.array(second) - 1), 1)
    rows, cols = np.indices(table.shape)
    cost = (rows - cols) ** 2.0 if weighted else (rows != cols).astype(float)
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    by_chance = float((cost * expected).sum())
    return None if by_chance == 0 else 1 - float((cost * table).sum()) / by_chance


def matched(first: SheetField, second: SheetField, mpp: tuple[float, float]) -> int:
    """Return how many marks of two fields are of the same mitoses: as many pairs as can be, each within `SAME_UM`."""
    if not first.marks or not second.marks:
        return 0
    a, b = (np.array(f.marks) * np.array(mpp) for f in (first, second))
    near = np.linalg.norm(a[:, None] - b[None], axis=2) <= SAME_UM
    rows, cols = linear_sum_assignment(near, maximize=True)
    return int(near[rows, cols].sum())


def _of_slide(first: Record, second: Record) -> dict[str, Any]:
    basis, scales = first.sheet.basis, [(r.sheet.basis.mpp.x, r.sheet.basis.mpp.y) for r in (first, second)]
    if scales[0] != scales[1]:
        at = [f"{r.observer} at {x:.4g} x {y:.4g}" for r, (x, y) in zip((first, second), scales, strict=True)]
        raise DataError(
            f"{basis.slide}: was judged by {' and '.join(at)} um/px, so areas differ; leave out the worksheet that "
            "is of the wrong scale"
        )
    theirs = {(f.x, f.y, f.width, f.height): f for f in second.sheet.fields if f.state == "counted"}
    fields: list[dict[str, Any]] = []
    for one in (f for f in first.sheet.fields if f.state == "counted"):
        other = theirs.get((one.x, one.y, one.width, one.height))
        if other is not None:
            same = matched(one, other, (basis.mpp.x, basis.mpp.y))
            counts = [len(one.marks), len(other.marks)]
            fields.append({"field": one.number, "x": one.x, "y": one.y, "mitoses": counts, "same": same})
    total, same = sum(sum(f["mitoses"]) for f in fields), sum(f["same"] for f in fields)
    sheets = first.sheet, second.sheet
    scores = {
        "tubules": [s.tubules for s in sheets],
        "pleomorphism": [s.pleomorphism for s in sheets],
        "mitoses": [s.mitoses.score for s in sheets],
        "grade": [s.grade and s.grade[1] for s in sheets],
    }
    return {
        "slide": basis.slide,
        "fields": fields,
        "counted": [s.mitoses.fields for s in sheets],
        "mitoses_per_mm2": [s.mitoses.per_mm2 for s in sheets],
        # As Dice of areas: of all marks in these fields, the share that the other observer has too.
        "marks_agreement": 2 * same / total if total else None,
        "scores": scores,
    }


def _kappas(slides: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for name in SCORES:
        pairs = [s["scores"][name] for s in slides if None not in s["scores"][name]]
        first, second = [p[0] for p in pairs], [p[1] for p in pairs]
        alike = sum(a == b for a, b in pairs) / len(pairs) if pairs else None
        # Of one slide, chance is not known.
        defined = len(pairs) > 1
        found[name] = {
            "slides": len(pairs),
            "agreement": alike,
            "kappa": kappa(first, second) if defined else None,
            "weighted_kappa": kappa(first, second, weighted=True) if defined else None,
        }
    return found
