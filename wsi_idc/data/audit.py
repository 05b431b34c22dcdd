"""Audit a folder of IDC patches: what is there, and what would spoil a training or a measurement."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsi_idc.base.disk.folders import new_folder
from wsi_idc.data.audit_report import (
    DEFINITIONS,
    EMPTY_STD,
    FINDINGS,
    SIZE,
    Audit,
    Finding,
    NestedTree,
    PatientCounts,
    write_audit,
)
from wsi_idc.data.content import pixel_digest
from wsi_idc.data.kaggle import (
    FARTHEST,
    LAYOUT,
    MISSING,
    LabelledPatch,
    count_neighbours,
    folder_hint,
    is_patient_folder,
    is_tree,
    is_whole_section,
    list_patches,
    place_patches,
    read_patch,
)
from wsi_idc.data.scale import RECORD
from wsi_idc.errors import DataError

EXAMPLES = 10
_BATCH = 256

Named = list[tuple[Path, ...]]


@dataclass(frozen=True, slots=True)
class _Look:
    """What is kept of a decoded patch: height and width, a digest of the pixels, mean and deviation of all values."""

    shape: tuple[int, ...]
    digest: bytes
    mean: float
    std: float


# What an audit writes.
_CHARTS = ("classes", "patients", "idc_share")
WRITTEN = ("audit.json", "patients.csv", *(f"{chart}.{form}" for chart in _CHARTS for form in ("png", "svg")))


def audit_folder(
    folder: Path,
    output: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
) -> Audit:
    """Look at every patch under `folder` (Kaggle's layout), and write the results into `output` if given.

    Every file is decoded once; `on_progress` is told how many of how many are done. What is wrong is counted, never an
    error. Raises DataError where there are no patches or none can be read, OutputError where `output` is not empty,
    nor an audit to `overwrite`.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds one folder a patient")
    patches, foreign, unlisted, trees = _walk(folder)
    if not patches:
        raise DataError(f"{folder}: no patches named {LAYOUT}{folder_hint(folder)}")
    # Not before: the place for the results may lie in `folder`, and is nothing to report.
    with new_folder(output, overwrite, WRITTEN) if output else nullcontext() as place:
        looks = _look_at(patches, on_progress)
        if not any(looks):
            raise DataError(f"{folder}: none of the {len(patches)} patches is an image; unpack the archive again")
        audit = _conclude(folder, patches, foreign, unlisted, trees, looks)
        if output and place:
            write_audit(audit, place)
    return audit


def _conclude(
    folder: Path,
    patches: Sequence[LabelledPatch],
    foreign: Sequence[Path],
    unlisted: Sequence[Path],
    trees: Sequence[Path],
    looks: Sequence[_Look | None],
) -> Audit:
    """Draw up what was found."""
    unreadable = [p.path for p, look in zip(patches, looks, strict=True) if look is None]
    found = {"unreadable": _alone([*unlisted, *unreadable]), "foreign": _alone(foreign)}
    found |= _contradictions(patches) | _same_pixels(patches, looks) | _odd_looks(patches, looks)
    per_patient = _count_patients(patches, looks)
    idc = sum(p.label for p in patches)
    sizes = Counter(f"{look.shape[1]}x{look.shape[0]}" for look in looks if look and _is_odd(look))
    return Audit(
        folder=_text(folder),
        patches=len(patches),
        not_idc=len(patches) - idc,
        idc=idc,
        idc_share=round(idc / len(patches), 6),
        one_class_only=idc in (0, len(patches)),
        patients=len(per_patient),
        patients_without_idc=sum(p.idc == 0 for p in per_patient),
        patients_with_idc_only=sum(p.idc == p.patches for p in per_patient),
        whole_sections=sum(p.whole_section for p in per_patient),
        random_samples=sum(not p.whole_section for p in per_patient),
        sizes=dict(sizes.most_common()),
        nested=[_compare(folder, tree, patches) for tree in trees],
        findings={name: _finding(folder, found[name]) for name in FINDINGS},
        definitions=DEFINITIONS,
        per_patient=per_patient,
    )


def _walk(folder: Path) -> tuple[list[LabelledPatch], list[Path], list[Path], list[Path]]:
    """Return the patches sorted by path, what is no patch, the folders that cannot be listed, and nested trees."""
    patches: list[LabelledPatch] = []
    foreign: list[Path] = []
    unlisted: list[Path] = []
    trees: list[Path] = []
    for path in sorted(folder.iterdir()):
        try:
            if not path.is_dir():
                foreign += [path] if path.name != RECORD else []
            elif is_patient_folder(path) and not path.name.startswith("."):
                own, others = list_patches(path)
                patches += sorted(own, key=lambda p: p.path)
                foreign += sorted(others)
            else:
                (trees if is_tree(path) else foreign).append(path)
        except OSError:
            unlisted.append(path)
    return patches, foreign, unlisted, trees


def _compare(folder: Path, tree: Path, patches: Sequence[LabelledPatch]) -> NestedTree:
    """Compare, by name, a tree nested in `folder` with the patches outside of it."""
    outside = {p.path.parts[-3:] for p in patches}
    inside = [p.path.parts[-3:] for p in _walk(tree)[0]]
    return NestedTree(_text(tree.relative_to(folder)), len(inside), sum(name not in outside for name in inside))


def _look_at(patches: Sequence[LabelledPatch], on_progress: Callable[[int, int], None] | None) -> list[_Look | None]:
    """Decode patches in the order given; None for those that cannot be read."""

    def look(patch: LabelledPatch) -> _Look | None:
        try:
            pixels = read_patch(patch.path)
        except DataError:
            return None
        return _Look(pixels.shape[:2], pixel_digest(pixels), float(pixels.mean()), float(pixels.std()))

    looks: list[_Look | None] = []
    batches = [patches[i : i + _BATCH] for i in range(0, len(patches), _BATCH)]
    with ThreadPoolExecutor(4) as pool:
        for batch in pool.map(lambda b: [look(p) for p in b], batches):
            looks += batch
            if on_progress:
                on_progress(len(looks), len(patches))
    return looks


def _contradictions(patches: Sequence[LabelledPatch]) -> dict[str, Named]:
    """Find patches whose name contradicts their folder, the grid, or the name of another."""
    places: dict[tuple[str, int, int], list[LabelledPatch]] = defaultdict(list)
    for patch in patches:
        places[patch.patient, patch.x, patch.y].append(patch)
    both = [own for own in places.values() if len({p.label for p in own}) > 1]
    return {
        "label_not_of_folder": _alone(p.path for p in patches if p.path.parent.name != str(p.label)),
        "patient_not_of_folder": _alone(p.path for p in patches if p.path.parents[1].name != p.patient),
        "off_grid": _alone(p.path for p in patches if not _is_on_grid(p)),
        "conflicting_places": [tuple(p.path for p in own) for own in both],
    }


def _same_pixels(patches: Sequence[LabelledPatch], looks: Sequence[_Look | None]) -> dict[str, Named]:
    """Find the patches with the very pixels of another one, each beside one that it equals."""
    groups: dict[tuple[tuple[int, ...], bytes], list[LabelledPatch]] = defaultdict(list)
    for patch, look in zip(patches, looks, strict=True):
        if look:
            groups[look.shape, look.digest].append(patch)
    labels: Named = []
    within: Named = []
    across: Named = []
    for group in (g for g in groups.values() if len(g) > 1):
        labels += _pairs(group, lambda p: p.label)
        across += _pairs(group, lambda p: p.patient)
        for patient in dict.fromkeys(p.patient for p in group):
            within += _pairs([p for p in group if p.patient == patient], lambda p: p.path)
    return {
        "conflicting_pixels": labels,
        "same_pixels_within_patient": within,
        "same_pixels_across_patients": across,
    }


def _pairs(group: Sequence[LabelledPatch], key: Callable[[LabelledPatch], Hashable]) -> Named:
    """Give every patch of a group together with the first one that has another key; nothing where all have one."""
    firsts = {key(p): p.path for p in reversed(group)}
    if len(firsts) == 1:
        return []
    return [(p.path, next(path for other, path in firsts.items() if other != key(p))) for p in group]


def _odd_looks(patches: Sequence[LabelledPatch], looks: Sequence[_Look | None]) -> dict[str, Named]:
    """Find patches of another size, and those that show nothing."""
    seen = [(p.path, look) for p, look in zip(patches, looks, strict=True) if look]
    return {
        "odd_size": _alone(path for path, look in seen if _is_odd(look)),
        "near_empty_light": _alone(path for path, look in seen if _is_empty(look) and look.mean >= 128),
        "near_empty_dark": _alone(path for path, look in seen if _is_empty(look) and look.mean < 128),
    }


def _count_patients(patches: Sequence[LabelledPatch], looks: Sequence[_Look | None]) -> list[PatientCounts]:
    """Count for each patient; places are taken from the names."""
    own: dict[str, list[tuple[LabelledPatch, _Look | None]]] = defaultdict(list)
    for patch, look in zip(patches, looks, strict=True):
        own[patch.patient].append((patch, look))
    counts = []
    for patient, pairs in sorted(own.items()):
        seen = [look for _, look in pairs if look]
        idc = sum(patch.label for patch, _ in pairs)
        # What is off the grid has no neighbours, and might be so far off that no memory holds the places between.
        placed = place_patches([patch for patch, _ in pairs if _is_on_grid(patch)])
        present = placed[patient] != MISSING if placed else np.zeros((1, 1), bool)
        present = present[present.any(1).argmax() :, present.any(0).argmax() :]
        possible = int(count_neighbours(np.ones_like(present))[present].sum())
        missing = 1 - int(count_neighbours(present)[present].sum()) / possible if possible else None
        counts.append(
            PatientCounts(
                patient=_text(patient),
                patches=len(pairs),
                idc=idc,
                idc_share=round(idc / len(pairs), 6),
                unreadable=len(pairs) - len(seen),
                odd_size=sum(_is_odd(look) for look in seen),
                near_empty=sum(_is_empty(look) for look in seen),
                missing_neighbours=None if missing is None else round(missing, 6),
                whole_section=is_whole_section(present),
            )
        )
    return counts


def _is_on_grid(patch: LabelledPatch) -> bool:
    return all(1 <= at <= FARTHEST and (at - 1) % SIZE == 0 for at in (patch.x, patch.y))


def _is_odd(look: _Look) -> bool:
    return look.shape != (SIZE, SIZE)


def _is_empty(look: _Look) -> bool:
    return look.std <= EMPTY_STD


def _alone(paths: Iterable[Path]) -> Named:
    return [(path,) for path in paths]


def _finding(folder: Path, named: Named) -> Finding:
    return Finding(len(named), [[_text(p.relative_to(folder)) for p in paths] for paths in named[:EXAMPLES]])


def _text(path: Path | str) -> str:
    """Give a path as text that any file and terminal takes: names on a disk need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")
