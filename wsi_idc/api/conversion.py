"""One file of annotations to another, whatever the formats: the suffix of the target says which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.formats.qupath import IDC_CLASS
from wsi_idc.annotations.read import read_annotations
from wsi_idc.annotations.write import Style, check_format, open_heatmap, write_annotations, write_labels, write_tiles
from wsi_idc.api.spatial import write_spatialdata
from wsi_idc.base.extras import needs_extra
from wsi_idc.base.files import check_free
from wsi_idc.errors import DataError, FormatError, OutputError
from wsi_idc.models.registry import find_model
from wsi_idc.runs.results.folder import OUTPUTS, read_summary
from wsi_idc.runs.results.origin import check_same_slide, check_slide, run_of, stated_slide
from wsi_idc.slides.slide import Slide

Form = Literal["annotations", "tiles", "spatialdata"]


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written: how many annotations of each class ("without a class" among them), and what to know of it."""

    classes: dict[str, int]
    notes: list[str]


def convert_annotations(
    source: Path,
    target: Path,
    *,
    classes: Mapping[str, str] | None = None,
    style: Style = "asap",
    like: Path | None = None,
    slide: Path | None = None,
    overwrite: bool = False,
) -> Converted:
    """Write the annotations of `source`, a file or the folder of a run, to `target`, which may be there to `overwrite`.

    `classes` gives classes other names, "" leaves one out. `style` says whose XML an .xml is. With `like`, a run, they
    are written as OME-Zarr labels on the grid of its heatmap. `slide` is the slide that they are of: a .dcm, the DICOM
    segmentation of those of IDC, needs it, and so do formats that state lengths only. Raises SlideError where it is not
    that of the run, DataError for what cannot be read or is of another slide than `like`, FormatError where the suffix
    of `target` has no format, OutputError for the target, and MissingExtraError where a format needs an extra that is
    not installed.
    """
    _check_target(target, overwrite)
    if like is None and (slide is None or target.suffix.lower() != ".dcm"):
        check_format(target)
    found = read_annotations(source, classes or {}, slide)
    if slide is not None:
        _check(source, slide, found.origin)
    if like is not None:
        said, provenance = stated_slide(source, found.origin), open_heatmap(like)[1]
        check_same_slide(source, said, like, provenance, "give --like the run of that slide, or outlines of this one")
        notes = write_labels(target, found.annotations, like)
    elif slide is not None and target.suffix.lower() == ".dcm":
        notes = _segmentation(source, target, found.annotations, slide)
    else:
        run = _run_of(source)
        mpp = open_heatmap(run)[2].slide_mpp if (run / "heatmap.zarr").is_dir() else None
        with needs_extra("tables"):
            notes = write_annotations(target, found.annotations, mpp=mpp, style=style, origin=found.origin)
    counts = Counter(a.classification or "without a class" for a in found.annotations)
    return Converted(dict(sorted(counts.items())), [*found.notes, *notes])


def convert_tiles(source: Path, target: Path, overwrite: bool = False) -> int:
    """Write the patches of a run as tiles for QuPath, and return how many; raises as `convert_annotations` does."""
    _check_target(target, overwrite)
    return write_tiles(target, source)


def convert_run(
    source: Path, target: Path, form: Form, slide: Path | None = None, overwrite: bool = False
) -> Converted:
    """Write a run as "tiles" for QuPath or as "spatialdata"; raises as `convert_annotations` does."""
    if form == "tiles":
        return Converted({"tiles": convert_tiles(source, target, overwrite)}, [])
    if target.suffix.lower() != ".zarr":
        raise FormatError(f"{target}: SpatialData is a folder; give a name that ends in .zarr")
    _check_target(target, overwrite)
    if not (source / OUTPUTS[-1]).is_file():
        raise DataError(f"{source}: not the folder of a run; give one, with its summary.json")
    notes = write_spatialdata(target, source, slide)
    found = read_annotations(source).annotations
    return Converted(dict(Counter(a.classification or "without a class" for a in found)), notes)


def _check_target(target: Path, overwrite: bool) -> None:
    """Raise OutputError where what is at `target` is not to be lost: without `overwrite`, and of a run in no case."""
    check_free(target, overwrite)
    if target.is_dir():
        raise OutputError(f"{target}: is a folder, and only files are overwritten; choose another name, or remove it")
    if target.name in OUTPUTS and run_of(target.parent):
        raise OutputError(f"{target}: is what a run left; choose another name")


def _check(source: Path, slide: Path, origin: Mapping[str, Any]) -> None:
    """Refuse outlines that are, or say that they are, of another slide: they would be put where they do not belong."""
    run = run_of(source)
    if run is not None or origin:
        # Its content alone counts, which no scale changes.
        with Slide(slide, read_summary(run)["slide"]["mpp"]["x"] if run else 1.0) as opened:
            check_slide(source, opened, origin)


def _run_of(source: Path) -> Path:
    """Return the folder of the run that a source is, or is the regions of; else the source."""
    return source.parent if source.name == "regions.geojson" else source


def _segmentation(source: Path, target: Path, annotations: Sequence[Annotation], slide: Path) -> list[str]:
    """Write the annotations of the class IDC; returns a note of the others."""
    with needs_extra("dicom"):
        from wsi_idc.annotations.formats.dicom_seg import write_segmentation
    run = _run_of(source)
    model = find_model(open_heatmap(run)[1]["model"]) if (run / "heatmap.zarr").is_dir() else None
    idc = [a.geometry for a in annotations if a.classification == IDC_CLASS["name"]]
    write_segmentation(target, idc, slide, model=model)
    others = len(annotations) - len(idc)
    return [f"{others} annotations of other classes are not in the segmentation"] if others else []
