"""The fields that `wsi-idc fields` chose, read back as a worksheet to begin with, and the next best one beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import shapely

from wsi_idc.annotations.read import read_annotations
from wsi_idc.errors import DataError
from wsi_idc.grading.fields import Wish, find_fields
from wsi_idc.grading.nuclei import COARSEST_UM, MEASURED_UM, Nuclei, measure_nuclei
from wsi_idc.grading.report import read_segmentation
from wsi_idc.grading.worksheet import Basis, SheetField, Worksheet
from wsi_idc.heatmap.store import read_provenance
from wsi_idc.runs.results.origin import check_origin
from wsi_idc.slides.slide import Slide

# So many more fields are looked at for one that lies on none of a worksheet, some of which were moved.
_SPARE = 20


def begin(run: Path, slide: Slide) -> Worksheet:
    """Return a worksheet of the fields of a run, on which nothing is judged.

    Raises DataError, which says what to do, where no fields were chosen, or where they are those of another slide.
    """
    origin = read_provenance(run / "heatmap.zarr")
    known = str(origin["slide_fingerprint"])
    basis = Basis(slide.name, known, slide.size, slide.mpp, str(origin["model"]), str(origin["model_sha256"]))
    drawn, said = _read(run)
    if not said:
        raise DataError(f"{_file(run)}: does not say of which slide its fields are; {_again(run)}")
    fields: list[SheetField] = []
    for one in (a for a in drawn if a.classification == "Field"):
        left, top, right, bottom = (int(v) for v in shapely.bounds(one.geometry))
        place = left, top, right - left, bottom - top
        fields.append(SheetField(len(fields) + 1, *place, area_mm2(place, slide)))
    if not fields:
        raise DataError(f"{_file(run)}: holds no field; {_again(run)} with another --area")
    return Worksheet(basis, tuple(fields))


def area_mm2(place: tuple[int, int, int, int], slide: Slide) -> float:
    """Return the area of (x, y, width, height) in level-0 pixels."""
    return place[2] * slide.mpp.x * place[3] * slide.mpp.y / 1e6


def next_best(run: Path, slide: Slide, sheet: Worksheet) -> tuple[int, int, int, int]:
    """Return the place of the best field that lies on none of a worksheet, refused ones included.

    As `wsi-idc fields` was asked to choose them; reads all candidates of the slide. Raises DataError where there is no
    room for another one, SlideError where the slide cannot be read.
    """
    asked = dict(_read(run)[1].get("fields") or {})
    wish = Wish(len(sheet.fields) + _SPARE, float(asked["area_mm2"]), float(asked["edge_um"]))
    taken = sheet.fields
    for one in find_fields(slide, read_segmentation(run), wish).fields:
        new = SheetField(1, one.x, one.y, one.width, one.height, one.area_mm2)
        if not any(new.overlaps(other) for other in taken):
            return one.x, one.y, one.width, one.height
    raise DataError("there is no room for another field that is half IDC and lies on none of these")


def nuclei_of(slide: Slide, one: SheetField) -> Nuclei | None:
    """Measure the nuclei of a field; None where the slide is too coarse for it. Raises SlideError."""
    mpp = max(MEASURED_UM, slide.mpp.x, slide.mpp.y)
    if mpp > COARSEST_UM:
        return None
    size = round(one.width * slide.mpp.x / mpp), round(one.height * slide.mpp.y / mpp)
    return measure_nuclei(slide.read(one.x, one.y, *size, mpp), mpp)


def _file(run: Path) -> Path:
    return run / "fields" / "fields.geojson"


def _again(run: Path) -> str:
    return f"remove that folder and run wsi-idc fields {run} again"


def _read(run: Path) -> tuple[list[Any], dict[str, Any]]:
    if not _file(run).is_file():
        raise DataError(f"{_file(run)}: no fields were chosen yet; run wsi-idc fields {run} first")
    found = read_annotations(_file(run))
    check_origin(_file(run).parent, found.origin, run, settings=True)
    return found.annotations, dict(found.origin)
