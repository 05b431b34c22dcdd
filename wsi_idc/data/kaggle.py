"""The Kaggle layout of IDC patches: `<patient>/<0|1>/<patient>_idx5_x<x>_y<y>_class<label>.png`."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from scipy.ndimage import convolve

from wsi_idc.base.inputs.bounded import read_text
from wsi_idc.base.inputs.picture import read_rgb
from wsi_idc.data.scale import PATCH_MPP, RECORD, mpp_of
from wsi_idc.errors import DataError

LAYOUT = "<patient>/<0|1>/<patient>_idx5_x<x>_y<y>_class<0|1>.png"
_CHUNK = 2048
# Bytes of a list of patients; pixels of a patch, as many as a model may take.
_LARGEST_LIST, _LARGEST_PATCH = 1 << 20, 1 << 24
MISSING = -1
FARTHEST = 50_000  # pixels; of 4 um 20 cm, more than any section
# Pixels of 4 um of a section, those between patches among them: twice a slide of 26 x 76 mm.
_LARGEST_SECTION = 1 << 28
_CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
_SEPARATORS = re.compile(r"[\s,]+")
_NAME = re.compile(r"^(?P<patient>.+)_idx5_x(?P<x>\d+)_y(?P<y>\d+)_class(?P<label>[01])\.(?i:png)$")


@dataclass(frozen=True, slots=True)
class LabelledPatch:
    """One patch file; `x` (column) and `y` (row) are the 1-based top-left corner, in pixels of the patches' scale."""

    path: Path
    patient: str
    x: int
    y: int
    label: int


def index_patches(folder: Path, patients: Collection[str] | None = None) -> list[LabelledPatch]:
    """List the patches under `folder`, of these `patients` or of all, sorted by patient, y and x.

    Only `<folder>/<patient>/<0|1>/` is read, so the second copy of the tree that the Kaggle archive nests in itself
    is not counted twice. Raises DataError where there is none, where one place is in both classes, and where a name
    states another patient or class than the folder does, or a place that is none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds one folder a patient")
    found: list[LabelledPatch] = []
    for patient in sorted(patients_in(folder)):
        if patients is None or patient in patients:
            found += list_patches(folder / patient)[0]
    if not found:
        wanted = "" if patients is None else f" of the patients {', '.join(sorted(patients)[:5])}"
        raise DataError(f"{folder}: no patches{wanted} named {LAYOUT}{folder_hint(folder)}")
    found.sort(key=lambda p: (p.patient, p.y, p.x))
    for patch in found:
        folders = patch.path.parts[-3:-1]
        if folders != (patch.patient, str(patch.label)):
            raise DataError(
                f"{patch.path}: lies in {'/'.join(folders)}, which is not what its name says; move or rename it"
            )
        if not (1 <= patch.x <= FARTHEST and 1 <= patch.y <= FARTHEST):
            raise DataError(
                f"{patch.path}: x={patch.x}, y={patch.y} is no place on a section; "
                f"name it by its top left pixel, counted from 1 (to {FARTHEST})"
            )
    mpp = mpp_of(folder)
    for patient, theirs in groupby(found, key=lambda p: p.patient):
        places = [(p.x, p.y) for p in theirs]
        width, height = (max(axis) for axis in zip(*places, strict=True))
        if width * height * (mpp / PATCH_MPP) ** 2 > _LARGEST_SECTION:
            raise DataError(
                f"{folder / patient}: its patches lie as far as x={width} and y={height}, and no section is as large "
                f"at {mpp:g} um/px; where that is not their scale, state it in {folder / RECORD}"
            )
    for one, other in pairwise(found):
        if one.label != other.label and (one.x, one.y, one.patient) == (other.x, other.y, other.patient):
            raise DataError(f"{one.path}: the same place is in the other class as {other.path}; keep one of them")
    return found


def patients_in(folder: Path) -> set[str]:
    """Return the names of the folders in `folder`, each of which may be a patient's; hidden ones are of no patient."""
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}


def list_patches(patient: Path) -> tuple[list[LabelledPatch], list[Path]]:
    """List the patches in the folder of one patient, and whatever else is there; in the order of the file system.

    Patient, place and label are those that the names state, whatever the folders say. What macOS leaves beside files
    (`._<name>`) has the name of a patch and is none.
    """
    patches, others = [], []
    with os.scandir(patient) as entries:
        inside = [(entry.name, entry.is_dir()) for entry in entries]
    for name, is_dir in inside:
        if not (is_dir and name in ("0", "1")):
            others.append(patient / name)
            continue
        folder = patient / name
        # scandir knows folders from files without asking the file system 277,524 times.
        with os.scandir(folder) as entries:
            for entry in entries:
                path = folder / entry.name
                if (match := _NAME.match(entry.name)) and not entry.is_dir() and not entry.name.startswith("."):
                    patches.append(
                        LabelledPatch(path, match["patient"], int(match["x"]), int(match["y"]), int(match["label"]))
                    )
                else:
                    others.append(path)
    return patches, others


def is_patient_folder(folder: Path) -> bool:
    """Say whether a folder holds a folder of a class, `0` or `1`. Raises OSError where it cannot be listed."""
    return any(inside.name in ("0", "1") for inside in _folders(folder))


def is_tree(folder: Path) -> bool:
    """Say whether a folder holds folders of patients. Raises OSError where one cannot be listed."""
    return any(is_patient_folder(inside) for inside in _folders(folder))


def folder_hint(folder: Path) -> str:
    """Say which folder to give in place of one that holds no folders of patients; "" where nothing is known."""
    try:
        if is_tree(folder):
            return ""
        below = _folders(folder)
        # The archive nests its tree, and unpacking programs put a folder around the archive: two floors are enough.
        for floor in (below, [p for b in below for p in _folders(b)]):
            if trees := [p for p in floor if is_tree(p)]:
                return f"; they are in {trees[0]}, give that folder"
        if is_patient_folder(folder):
            return f"; this is the folder of one patient, give {folder.resolve().parent}"
    except OSError:
        pass  # a hint is all that is lost where something may not be listed
    return ""


def _folders(folder: Path) -> list[Path]:
    """List the folders in a folder, sorted."""
    with os.scandir(folder) as entries:
        return sorted(folder / e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def read_patch(path: Path) -> np.ndarray:
    """Read one patch as (h, w, 3) uint8 RGB, white where transparent; a few at the section's edge are not 50x50.

    Raises DataError where the file is damaged, or its pixels are no 8-bit colours.
    """
    try:
        return read_rgb(path, _LARGEST_PATCH)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); get the file again or remove it") from error


def decode_patches(patches: Sequence[LabelledPatch], size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Decode patches in order; give number and pixels (size, size, 3) uint8 of those that are of this size.

    Raises DataError where a file is damaged.
    """
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, len(patches), _CHUNK):
            chunk = patches[start : start + _CHUNK]
            for number, pixels in enumerate(pool.map(lambda p: read_patch(p.path), chunk), start):
                if pixels.shape == (size, size, 3):
                    yield number, pixels


def load_patches(
    patches: Sequence[LabelledPatch], size: int = 50
) -> tuple[np.ndarray, np.ndarray, list[LabelledPatch]]:
    """Decode patches: pixels (n, size, size, 3) uint8, labels (n,) uint8, and the patches kept.

    Patches of another size are left out; the third value says which were kept, in the order given.
    """
    decoded = list(decode_patches(patches, size))
    kept = [patches[number] for number, _ in decoded]
    pixels = np.array([p for _, p in decoded], np.uint8).reshape(-1, size, size, 3)
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


def count_neighbours(present: np.ndarray) -> np.ndarray:
    """Count the 4-neighbours of every place that are present; (rows, cols) bool to (rows, cols) int."""
    return convolve(present.astype(int), _CROSS, mode="constant")


def is_whole_section(present: np.ndarray) -> bool:
    """Say whether the places with a patch, (rows, cols) bool, form a section rather than being a sample of one.

    Most patches of a section have a neighbour on at least three sides; in a sample of one in five, hardly any.
    """
    return bool(present.any() and np.median(count_neighbours(present)[present]) >= 3)


def is_listable(patient: str) -> bool:
    """Say whether a patient id can be told from others in a split file."""
    return not _SEPARATORS.search(patient)


def read_patients(file: Path) -> set[str]:
    """Read a split file: patient ids separated by white space or commas. Raises DataError where it is no text."""
    try:
        # Editors on Windows put a mark before UTF-8.
        return {p for p in _SEPARATORS.split(read_text(file, _LARGEST_LIST)) if p}
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); give a list of patients") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not a text file in UTF-8; give a list of patients") from error
