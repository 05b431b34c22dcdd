"""The Kaggle layout of IDC patches: `<patient>/<0|1>/<patient>_idx5_x<x>_y<y>_class<label>.png`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wsi_idc.errors import DataError

MISSING = -1
_NAME = re.compile(r"^(?P<patient>[^_]+)_idx5_x(?P<x>\d+)_y(?P<y>\d+)_class(?P<label>[01])\.png$")


@dataclass(frozen=True, slots=True)
class LabelledPatch:
    """One patch file; `x` (column) and `y` (row) are the 1-based top-left corner in 4 um pixels."""

    path: Path
    patient: str
    x: int
    y: int
    label: int


def index_patches(folder: Path, patients: Collection[str] | None = None) -> list[LabelledPatch]:
    """List the patches under `folder`, of these `patients` or of all, sorted by patient, y and x.

    Only `<folder>/<patient>/<0|1>/` is read, so the second copy of the tree that the Kaggle archive nests in itself
    is not counted twice. Raises DataError where there is none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds one folder a patient")
    found = []
    for patient in sorted(p for p in folder.iterdir() if p.is_dir() and (patients is None or p.name in patients)):
        for path in patient.glob("[01]/*.png"):
            if match := _NAME.match(path.name):
                found.append(
                    LabelledPatch(path, match["patient"], int(match["x"]), int(match["y"]), int(match["label"]))
                )
    if not found:
        wanted = "" if patients is None else f" of the patients {', '.join(sorted(patients)[:5])}"
        raise DataError(f"{folder}: no patches{wanted} named <patient>/<0|1>/<patient>_idx5_x<x>_y<y>_class<0|1>.png")
    return sorted(found, key=lambda p: (p.patient, p.y, p.x))


def read_patch(path: Path) -> np.ndarray:
    """Read one patch as (h, w, 3) uint8 RGB; a few at the section's edge are not 50x50.

    Raises DataError where the file is damaged.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an image; get the file again or remove it") from error


def load_patches(
    patches: Sequence[LabelledPatch], size: int = 50
) -> tuple[np.ndarray, np.ndarray, list[LabelledPatch]]:
    """Decode patches: pixels (n, size, size, 3) uint8, labels (n,) uint8, and the patches kept.

    Patches of another size are left out; the third value says which were kept, in the order given.
    """
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda p: read_patch(p.path), patches))
    whole = [i for i, pixels in enumerate(decoded) if pixels.shape == (size, size, 3)]
    pixels = np.empty((len(whole), size, size, 3), np.uint8)
    for row, i in enumerate(whole):
        pixels[row] = decoded[i]
    kept = [patches[i] for i in whole]
    return pixels, np.array([p.label for p in kept], np.uint8), kept


def place_patches(patches: Sequence[LabelledPatch], size: int = 50) -> dict[str, np.ndarray]:
    """Lay the numbers of `patches` out by patient, at the places that their names state.

    Returns for each patient (rows, cols) int: numbers into `patches`, MISSING where there is none.
    """
    numbers: dict[str, list[int]] = {}
    for number, patch in enumerate(patches):
        numbers.setdefault(patch.patient, []).append(number)
    grids = {}
    for patient, own in numbers.items():
        rows, cols = (np.array([(getattr(patches[n], axis) - 1) // size for n in own]) for axis in "yx")
        grids[patient] = np.full((rows.max() + 1, cols.max() + 1), MISSING)
        grids[patient][rows, cols] = own
    return grids


def read_patients(file: Path) -> set[str]:
    """Read a split file: patient ids separated by white space or commas."""
    return {p for p in re.split(r"[\s,]+", file.read_text(encoding="utf-8")) if p}
