"""Outlines of slides in pairs, from folders and files: found by name, read, and compared."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely import MultiPolygon

from wsi_idc.annotations.annotation import ROI_CLASSES, Annotation, is_ignored, is_roi
from wsi_idc.annotations.formats.qupath import IDC_CLASS
from wsi_idc.annotations.read import read_annotations
from wsi_idc.annotations.registry import SUFFIXES as ANNOTATIONS
from wsi_idc.annotations.source import Frame
from wsi_idc.base.inputs.bounded import read_lines
from wsi_idc.comparison.agreement import Areas, SlideAgreement, agreement_areas, compare_regions, polygons
from wsi_idc.errors import DataError
from wsi_idc.runs.again import WRITTEN
from wsi_idc.runs.results.folder import read_summary
from wsi_idc.runs.results.origin import check_same_slide, stated_slide
from wsi_idc.slides.paths.find import SUFFIXES

# A folder may hold notes beside outlines: text that may be anything is read only where it is given by name.
_ANNOTATIONS = frozenset({*ANNOTATIONS, ".gz", ".zip"}) - {".txt"}
# Pixels between all outlines and the end of what counts, where nothing says where that is.
_RIM_PX = 10
# Bytes of a table of patients.
_LARGEST_TABLE = 1 << 24


@dataclass(frozen=True, slots=True)
class Pair:
    """Two outlines of one slide: each a file of annotations, or the folder of a run."""

    slide: str
    patient: str
    found: Path
    truth: Path


@dataclass(frozen=True, slots=True)
class ComparedSlide:
    """A pair, how far it agrees and where; `run` is the folder of a run that shows the slide, None without one.

    `classes` are those of its annotations, whether they count or not; of a run none.
    """

    pair: Pair
    mpp: tuple[float, float]
    agreement: SlideAgreement
    areas: Areas
    run: Path | None
    notes: list[str]
    classes: frozenset[str]


def find_pairs(found: Path, truth: Path, patients: Path | None = None) -> tuple[list[Pair], list[str]]:
    """Pair what `found` and `truth` hold by the names of the slides; two single outlines are a pair by themselves.

    Each is a file of annotations, the folder of a run or of `delineate`, or a folder of such. A patient is the name
    up to the first "_", or what the CSV `patients` says (columns slide, patient). Returns also a line for each that
    has no partner. Raises DataError where nothing can be paired, two files have one name, or the CSV gives a slide no
    patient, or two.
    """
    sides = [_outlines_in(found), _outlines_in(truth)]
    if not any(map(_is_folder_of_many, (found, truth))):
        sides[1] = {next(iter(sides[0])): _delineated(truth)}
    alone = [
        f"{path}: left out, nothing of this name in {other}"
        for own, theirs, other in ((sides[0], sides[1], truth), (sides[1], sides[0], found))
        for name, path in own.items()
        if name not in theirs
    ]
    slides = [name for name in sides[0] if name in sides[1]]
    if not slides:
        raise DataError(f"{found}: holds no slide of {truth}; outlines of one slide must have its name")
    owners = _read_owners(patients) if patients else {name: name.split("_")[0] or name for name in slides}
    if unknown := [name for name in slides if name not in owners]:
        raise DataError(f"{patients}: no patient for {', '.join(unknown)}; add a line for each")
    return [Pair(name, owners[name], sides[0][name], sides[1][name]) for name in slides], alone


def _delineated(path: Path) -> Path:
    """Return the outlines in a folder that `delineate` left, whose other files are no slides; else the path itself."""
    outlines, numbers = (path / name for name in WRITTEN[:2])
    return outlines if outlines.is_file() and numbers.is_file() else path


def _is_run(path: Path) -> bool:
    return (path / "summary.json").is_file()


def _is_folder_of_many(path: Path) -> bool:
    return path.is_dir() and not _is_run(path) and _delineated(path) == path


def _slide_name(path: Path | str) -> str:
    """Return the name of a slide without the endings of slides and annotations: "a" of "a.svs.geojson"."""
    name = Path(path).name
    while (suffix := Path(name).suffix).lower() in SUFFIXES | _ANNOTATIONS | {".zarr"}:
        name = name.removesuffix(suffix)
    return name


def _outlines_in(path: Path) -> dict[str, Path]:
    if not _is_folder_of_many(path):
        return {_slide_name(path): _delineated(path)}
    named: dict[str, Path] = {}
    for one in sorted(path.iterdir()):
        outlined = _is_run(one) or _delineated(one) != one or (one.is_file() and one.suffix.lower() in _ANNOTATIONS)
        if one.name.startswith(".") or not outlined:
            continue
        if other := named.get(_slide_name(one)):
            raise DataError(f"{one}: is of the same slide as {other.name}; leave one of them there")
        named[_slide_name(one)] = _delineated(one)
    return named


def _read_owners(path: Path) -> dict[str, str]:
    """Return the patient of each slide that a table names; raises DataError where it does not say, or says two."""
    try:
        rows = csv.DictReader(read_lines(path, _LARGEST_TABLE), restval="")
        if not {"slide", "patient"} <= set(rows.fieldnames or ()):
            raise ValueError("no such columns")
        said = [(rows.line_num, row["slide"].strip(), row["patient"].strip()) for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not a table of patients; write CSV with the columns slide and patient") from error
    owners: dict[str, tuple[int, str]] = {}
    for line, slide, patient in said:
        if not slide or not patient:
            # Those without one would count as one patient together.
            missing = "patient" if slide else "slide"
            raise DataError(f"{path}: line {line} names no {missing}; write one, or remove the line")
        first, before = owners.setdefault(_slide_name(slide), (line, patient))
        if before != patient:
            raise DataError(
                f"{path}: line {line} gives {slide} to patient {patient}, line {first} to {before}; keep one of the two"
            )
    return {name: patient for name, (_, patient) in owners.items()}


def compare_pair(
    pair: Pair,
    mpp: float | None = None,
    classes: Collection[str] = (),
    roi_classes: Collection[str] = ROI_CLASSES,
) -> ComparedSlide:
    """Read the outlines of a pair and compare them, at `mpp` um per pixel in place of what a run states.

    `classes` are those of annotations that count; of a run its regions do. An ROI of either side limits both, and what
    either outlines as a class that ends in "*" does not count. Raises DataError where a file, or all of its outlines,
    cannot be read, the scale is not known, it is not clear which class counts, or they say that they are of two slides.
    """
    _check_classes(classes)
    notes: list[str] = []
    runs = {path: read_summary(path) for path in (pair.found, pair.truth) if _is_run(path)}
    frame = next((_frame(summary) for summary in runs.values()), None)
    sides = [_read(path, classes, roi_classes, frame, notes) for path in (pair.found, pair.truth)]
    its, theirs = (stated_slide(path, side.origin) for path, side in zip((pair.found, pair.truth), sides, strict=True))
    check_same_slide(pair.found, its, pair.truth, theirs, "compare outlines of one slide")
    notes += [f"{path}: some patches of this run could not be read" for path in runs if runs[path]["state"] != "done"]
    notes += [f"{path}: {summary['message']}" for path, summary in runs.items() if summary["message"]]
    scales = {(s["slide"]["mpp"]["x"], s["slide"]["mpp"]["y"]) for s in runs.values()}
    if mpp is None and not scales:
        raise DataError(f"{pair.found}: no run that gives the scale of the slide; give --mpp")
    if mpp is None and len(scales) > 1:
        raise DataError(f"{pair.found}: is of another scale than {pair.truth}; say with --mpp which is right")
    scale = (mpp, mpp) if mpp is not None else scales.pop()
    for path, side in zip((pair.found, pair.truth), sides, strict=True):
        _check_place(path, side, frame)
    roi = _counted(sides, frame, pair)
    found, truth = (side.regions for side in sides)
    agreement, areas = compare_regions(found, truth, scale, roi), agreement_areas(found, truth, roi)
    if all(side.roi.is_empty for side in sides):
        # What is left of the slide, or of a box around the outlines, is not what somebody said they had looked at.
        agreement = replace(agreement, counted_mm2=np.nan)
    if any(not side.ignored.is_empty for side in sides):
        notes.append(f"{pair.truth}: what either side outlines as a class that ends in * does not count")
    held = sides[0].classes | sides[1].classes
    return ComparedSlide(pair, scale, agreement, areas, next(iter(runs), None), notes, held)


@dataclass(frozen=True, slots=True)
class _Side:
    """What a file outlines: what counts, the ROI, empty where there is none, what is neither; of which slide; and the
    classes of a file of annotations that may count.
    """

    regions: list[Annotation]
    roi: MultiPolygon
    ignored: MultiPolygon
    origin: Mapping[str, Any]
    classes: frozenset[str]


def _check_classes(classes: Collection[str]) -> None:
    if starred := [name for name in classes if is_ignored(name)]:
        raise DataError(
            f"class {starred[0]!r}: ends in *, which marks what is neither IDC nor not; give it another name with "
            "wsi-idc convert --class OLD=NEW"
        )


def _check_place(path: Path, side: _Side, frame: Frame | None) -> None:
    """Raise DataError where most of what a side outlines lies outside of the slide: it was drawn on another one."""
    drawn = shapely.union_all([*(a.geometry for a in side.regions), side.roi])
    if frame is None or shapely.intersection(drawn, shapely.box(0, 0, *frame.size)).area >= drawn.area / 2:
        return
    width, height = frame.size
    raise DataError(
        f"{path}: most of what it outlines lies outside of the slide ({width}x{height} pixels); give outlines that "
        "were drawn on this slide, in pixels of its full resolution"
    )


def _frame(summary: dict[str, Any]) -> Frame:
    slide = summary["slide"]
    return Frame((slide["width"], slide["height"]), (slide["mpp"]["x"], slide["mpp"]["y"]))


def _counted(sides: Sequence[_Side], frame: Frame | None, pair: Pair) -> MultiPolygon | None:
    """Return outside of what nothing counts, None where all does; raises DataError where nothing is left."""
    rois = [side.roi for side in sides if not side.roi.is_empty]
    ignored = shapely.union_all([side.ignored for side in sides])
    if not rois and ignored.is_empty:
        return None
    if rois:
        looked_at = shapely.intersection_all(rois)
        if polygons(looked_at).is_empty:
            raise DataError(f"{pair.truth}: its ROI and that of {pair.found} share no area; outline the same area")
    elif frame is not None:
        looked_at = shapely.box(0, 0, *frame.size)
    else:
        # All that is outlined, with a rim: farther out there is nothing to count.
        drawn = [a.geometry for side in sides for a in side.regions]
        left, top, right, bottom = shapely.total_bounds([*drawn, ignored]).tolist()
        looked_at = shapely.box(left - _RIM_PX, top - _RIM_PX, right + _RIM_PX, bottom + _RIM_PX)
    counted = polygons(shapely.difference(looked_at, ignored))
    if counted.is_empty:
        raise DataError(f"{pair.truth}: outlines of classes that end in * leave nothing to compare with {pair.found}")
    return counted


def _read(
    path: Path, classes: Collection[str], roi_classes: Collection[str], frame: Frame | None, notes: list[str]
) -> _Side:
    """Read what a side outlines, and add to `notes` what to know of it."""
    read = read_annotations(path, slide=frame)
    if read.left_out and not read.annotations:
        raise DataError(f"{path}: nothing of it could be read: {read.notes[0]}")
    notes += [f"{path}: {note}" for note in read.notes]
    rois = [a.geometry for a in read.annotations if is_roi(a.classification, roi_classes)]
    ignored = [a.geometry for a in read.annotations if is_ignored(a.classification)]
    others = [
        a
        for a in read.annotations
        if not (is_roi(a.classification, roi_classes) or is_roi(a.classification) or is_ignored(a.classification))
    ]
    held: Counter[str] = Counter()
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
    roi, neither = (polygons(shapely.union_all(areas)) for areas in (rois, ignored))
    return _Side(others, roi, neither, read.origin, frozenset(held))
