"""The surest hits and misses of an evaluation: of which patches a model was most certain, rightly or wrongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.base.extras import needs_extra
from wsi_idc.base.inputs.bounded import read_bytes
from wsi_idc.base.inputs.documents import parse_json
from wsi_idc.data.content import pixel_digest
from wsi_idc.data.kaggle import LabelledPatch, index_patches, read_patch
from wsi_idc.errors import DataError
from wsi_idc.explanation.sheets import Shown, write_sheet
from wsi_idc.models.registry import list_models

# By label and by what was called: the patches, and how they are told on a sheet.
KINDS = {
    (1, 1): "true positives",
    (0, 0): "true negatives",
    (0, 1): "false positives",
    (1, 0): "false negatives",
}
TABLE, METRICS = "predictions.parquet", "metrics.json"
_LARGEST = 1 << 26
_COLUMNS = ("patient", "x", "y", "label", "probability", "idc")
# Of the pixels; tables of older versions do not have it.
_DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class Sure:
    """A patch with the probability that an evaluation has for it."""

    patch: LabelledPatch
    probability: float

    @property
    def lines(self) -> tuple[str, str, str]:
        """What is written below it: of whom, where, and the probability."""
        patch = self.patch
        return f"patient {patch.patient}", f"x {patch.x}  y {patch.y}", f"probability {self.probability:.4f}"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `wsi-idc evaluate` left in a folder: the table of its patches, the threshold, and which models."""

    folder: Path
    columns: Mapping[str, np.ndarray]
    threshold: float
    models: list[dict[str, Any]]

    @property
    def notes(self) -> list[str]:
        """What is not known of its patches."""
        if _DIGEST in self.columns:
            return []
        return [
            "the evaluation is of an older version, which kept no digests of pixels: that the pictures are of what was "
            "measured is known by names and labels only; evaluate again to have it checked"
        ]


def is_evaluation(folder: Path) -> bool:
    """Say whether a folder is what `wsi-idc evaluate` leaves."""
    return (folder / TABLE).is_file() and (folder / METRICS).is_file()


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation; raises DataError where it is damaged, MissingExtraError without pyarrow."""
    with needs_extra("train"):
        from pyarrow import ArrowException, parquet
    try:
        there = {_DIGEST} & set(parquet.read_schema(folder / TABLE).names)
        table = parquet.read_table(folder / TABLE, columns=[*_COLUMNS, *there])
        columns = {name: np.array(table[name].to_pylist()) for name in table.column_names}
        metrics = parse_json(read_bytes(folder / METRICS, _LARGEST))
        return Evaluation(folder, columns, float(metrics["threshold"]), list(metrics["models"]))
    except (OSError, ValueError, KeyError, TypeError, ArrowException) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise DataError(f"{folder}: is not what wsi-idc evaluate left ({reason}); evaluate again") from error


def surest(evaluation: Evaluation, patches: Path, number: int) -> dict[str, tuple[int, list[Sure]]]:
    """Return of each kind how many there are, and the surest `number`, of those most certain first.

    `patches` is the folder that was evaluated. Raises DataError where a patch is not there, or has another label or
    other pixels now.
    """
    columns = evaluation.columns
    chosen: dict[str, tuple[int, np.ndarray]] = {}
    for (label, called), kind in KINDS.items():
        rows = np.flatnonzero((columns["label"] == label) & (columns["idc"] == bool(called)))
        # Of equal ones the first in the table, so that the same evaluation gives the same sheets.
        order = np.argsort((-1 if called else 1) * columns["probability"][rows], kind="stable")
        chosen[kind] = len(rows), rows[order[:number]]
    patients = {str(columns["patient"][row]) for _, rows in chosen.values() for row in rows}
    known = {(p.patient, p.x, p.y): p for p in index_patches(patches, patients)}
    return {
        kind: (count, [_found(evaluation, patches, known, row) for row in rows])
        for kind, (count, rows) in chosen.items()
    }


def draw_surest(
    place: Path, evaluation: Evaluation, found: Mapping[str, tuple[int, list[Sure]]]
) -> list[dict[str, Any]]:
    """Draw a sheet of each kind of which there is a patch; return what explain.json says of them."""
    mpp = _scale_of(evaluation.models)
    return [_draw_kind(place, evaluation, kind, found[kind], mpp) for kind in KINDS.values()]


def _draw_kind(
    place: Path, evaluation: Evaluation, kind: str, found: tuple[int, list[Sure]], mpp: float | None
) -> dict[str, Any]:
    """Draw the sheet of a kind, where there is a patch of it; return what explain.json says of it."""
    count, rows = found
    picture = f"{kind.replace(' ', '-')}.png" if rows else None
    if picture:
        models = " with ".join(f"{m['name']} {m['version']}" for m in evaluation.models)
        title = f"{kind.capitalize()}: {f'the {len(rows)} surest of {count}' if count > len(rows) else f'all {count}'}"
        idc = kind.endswith("e positives")
        labelled = "IDC" if kind in ("true positives", "false negatives") else "not IDC"
        below = (
            f"labelled {labelled}; by {models}, IDC from {evaluation.threshold:g} on; x and y as the names of the "
            "patches have them. For research use only."
        )
        write_sheet(place / picture, title, below, [Shown(read_patch(s.patch.path), idc, s.lines) for s in rows], mpp)
    listed = [
        {
            "patient": s.patch.patient,
            "x": s.patch.x,
            "y": s.patch.y,
            "label": s.patch.label,
            "probability": round(s.probability, 6),
        }
        for s in rows
    ]
    return {"kind": kind, "picture": picture, "n": count, "patches": listed}


def _scale_of(models: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the um per pixel of the models that were evaluated, where they are installed; None where none is."""
    known = {package.sha256: package.mpp for package in list_models()[0]}
    return next((known[m["sha256"]] for m in models if m["sha256"] in known), None)


def _found(evaluation: Evaluation, folder: Path, known: Mapping[tuple[str, int, int], LabelledPatch], row: int) -> Sure:
    columns = evaluation.columns
    patient, x, y, label = str(columns["patient"][row]), *(int(columns[n][row]) for n in ("x", "y", "label"))
    patch = known.get((patient, x, y))
    if patch is None:
        what = "no patch"
    elif patch.label != label:
        what = "another label for the patch"
    elif _DIGEST in columns and pixel_digest(read_patch(patch.path)).hex() != columns[_DIGEST][row]:
        what = "other pixels for the patch"
    else:
        return Sure(patch, float(columns["probability"][row]))
    raise DataError(
        f"{folder}: has {what} of {patient} at x={x}, y={y}, which {evaluation.folder} was measured on; "
        "give the folder that was evaluated, as it was, or evaluate again"
    )
