"""Outlines of slides in pairs, from folders and files: found by name, read, and compared."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import shapely
from shapely import MultiPolygon

from wsi_idc.annotations.annotation import ROI_CLASSES, Annotation
from wsi_idc.annotations.qupath import IDC_CLASS
from wsi_idc.annotations.read import read_annotations
from wsi_idc.comparison.agreement import Areas, SlideAgreement, agreement_areas, compare_regions, polygons
from wsi_idc.errors import DataError
from wsi_idc.runs.folder import read_summary
from wsi_idc.slides.find import SUFFIXES

_ANNOTATIONS = frozenset({".geojson", ".json", ".xml", ".gz", ".zip"})


@dataclass(frozen=True, slots=True)
class Pair:
    """Two outlines of one slide: each a file of annotations, or the folder of a run."""

    slide: str
    patient: str
    found: Path
    truth: Path


@dataclass(frozen=True, slots=True)
class ComparedSlide:
    """A pair, how far it agrees and where; `run` is the folder of a run that shows the slide, None without one."""

    pair: Pair
    mpp: tuple[float, float]
    agreement: SlideAgreement
    areas: Areas
    run: Path | None
    notes: list[str]


def find_pairs(found: Path, truth: Path, patients: Path | None = None) -> tuple[list[Pair], list[str]]:
    """Pair what `found` and `truth` hold by the names of the slides; two single outlines are a pair by themselves.

    Each is a file of annotations, the folder of a run, or a folder of such. A patient is the name up to the first "_",
    or what the CSV `patients` says (columns slide, patient). Returns also a line for each that has no partner. Raises
    DataError where nothing can be paired, two files have one name, or a slide is not in the CSV.
    """
    sides = [_outlines_in(found), _outlines_in(truth)]
    if not any(map(_is_folder_of_many, (found, truth))):
        sides[1] = {next(iter(sides[0])): truth}
    alone = [
        f"{path}: left out, nothing of this name in {other}"
        for own, theirs, other in ((sides[0], sides[1], truth), (sides[1], sides[0], found))
        for name, path in own.items()
        if name not in theirs
    ]
    slides = [name for name in sides[0] if name in sides[1]]
    if not slides:
        raise DataError(f"{found}: holds no slide of {truth}; outlines of one slide must have its name")
    owners = _read_owners(patients) if patients else {name: name.split("_")[0] for name in slides}
    if unknown := [name for name in slides if name not in owners]:
        raise DataError(f"{patients}: no patient for {', '.join(unknown)}; add a line for each")
    return [Pair(name, owners[name], sides[0][name], sides[1][name]) for name in slides], alone


def _is_run(path: Path) -> bool:
    return (path / "summary.json").is_file()


def _is_folder_of_many(path: Path) -> bool:
    return path.is_dir() and not _is_run(path)


def _slide_name(path: Path | str) -> str:
    """Return the name of a slide without the endings of slides and annotations: "a" of "a.svs.geojson"."""
    name = Path(path).name
    while (suffix := Path(name).suffix).lower() in SUFFIXES | _ANNOTATIONS:
        name = name.removesuffix(suffix)
    return name


def _outlines_in(path: Path) -> dict[str, Path]:
    if not _is_folder_of_many(path):
        return {_slide_name(path): path}
    named: dict[str, Path] = {}
    for one in sorted(path.iterdir()):
        if one.name.startswith(".") or not (_is_run(one) or (one.is_file() and one.suffix.lower() in _ANNOTATIONS)):
            continue
        if other := named.get(_slide_name(one)):
            raise DataError(f"{one}: is of the same slide as {other.name}; leave one of them there")
        named[_slide_name(one)] = one
    return named


def _read_owners(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return {_slide_name(row["slide"]): row["patient"].strip() for row in csv.DictReader(stream)}
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise DataError(f"{path}: not a table of patients; write CSV with the columns slide and patient") from error


def compare_pair(
    pair: Pair,
    mpp: float | None = None,
    classes: Collection[str] = (),
    roi_classes: Collection[str] = ROI_CLASSES,
) -> ComparedSlide:
    """Read the outlines of a pair and compare them, at `mpp` um per pixel in place of what a run states.

    `classes` are those of annotations that count; of a run its regions do. An ROI of either side limits both. Raises
    DataError where a file cannot be read, the scale is not known, or it is not clear which class counts.
    """
    notes: list[str] = []
    sides = [_read(path, classes, roi_classes, notes) for path in (pair.found, pair.truth)]
    runs = {path: read_summary(path) for path in (pair.found, pair.truth) if _is_run(path)}
    notes += [f"{path}: some patches of this run could not be read" for path in runs if runs[path]["state"] != "done"]
    scales = {(s["slide"]["mpp"]["x"], s["slide"]["mpp"]["y"]) for s in runs.values()}
    if mpp is None and not scales:
        raise DataError(f"{pair.found}: no run that gives the scale of the slide; give --mpp")
    if mpp is None and len(scales) > 1:
        raise DataError(f"{pair.found}: is of another scale than {pair.truth}; say with --mpp which is right")
    scale = (mpp, mpp) if mpp is not None else scales.pop()
    rois = [roi for _, roi in sides if not roi.is_empty]
    roi = polygons(shapely.intersection_all(rois)) if rois else None
    if roi is not None and roi.is_empty:
        raise DataError(f"{pair.truth}: its ROI and that of {pair.found} share no area; outline the same area")
    found, truth = (regions for regions, _ in sides)
    agreement, areas = compare_regions(found, truth, scale, roi), agreement_areas(found, truth, roi)
    return ComparedSlide(pair, scale, agreement, areas, next(iter(runs), None), notes)


def _read(
    path: Path, classes: Collection[str], roi_classes: Collection[str], notes: list[str]
) -> tuple[list[Annotation], MultiPolygon]:
    """Return the annotations that count and the ROI, empty where there is none; add to `notes` what to know of it."""
    read = read_annotations(path)
    notes += [f"{path}: {note}" for note in read.notes]
    rois = [a.geometry for a in read.annotations if a.classification in roi_classes]
    others = [a for a in read.annotations if a.classification not in roi_classes]
    if _is_run(path):
        # Behind its regions a run may outline bands of probability.
        others = [a for a in others if a.classification == IDC_CLASS["name"]]
    else:
        held = Counter(a.classification or "(none)" for a in others)
        named = ", ".join(sorted(held))
        if not classes and len(held) > 1:
            raise DataError(f"{path}: holds the classes {named}; say with --class which count")
        if classes:
            others = [a for a in others if a.classification in classes]
        if held and not others:
            notes.append(f"{path}: no annotation of {', '.join(classes)} there, only of {named}; counted as empty")
    return others, polygons(shapely.union_all(rois))
