"""A worksheet as files: JSON by a schema, a table, marks as QuPath points; whole or not at all, and read back."""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geojson
import shapely

from wsi_idc.annotations.formats.qupath import collection, feature
from wsi_idc.base.disk.folders import new_folder
from wsi_idc.base.inputs.documents import read_json
from wsi_idc.base.pages.colours import FIELD, MITOSIS
from wsi_idc.base.shown import cells, whole
from wsi_idc.errors import DataError
from wsi_idc.grading.nottingham import SOURCE
from wsi_idc.grading.nuclei import METHOD, Nuclei
from wsi_idc.grading.worksheet import Basis, SheetField, Worksheet
from wsi_idc.runs.results.summary import RESEARCH_USE
from wsi_idc.slides.scale import Mpp

SCHEMA = Path(__file__).with_name("worksheet.schema.json")
NAMES = JSON, TABLE, MARKS = ("worksheet.json", "worksheet.csv", "mitoses.geojson")
FORMAT = 1
# Bytes of a worksheet: a thousand fields of a thousand marks.
_LARGEST = 1 << 25
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://wsi-idc/worksheet")
_COLUMNS = (
    "slide", "observer", "saved", "field", "state", "came", "x", "y", "width", "height", "area_mm2", "mitoses",
    "mitoses_per_mm2", "nuclei", "nuclei_per_mm2", "nuclear_area_um2", "tubules", "pleomorphism", "mitotic_score",
    "sum", "grade",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """A worksheet with whose it is and when it was saved, ISO 8601 in UTC."""

    sheet: Worksheet
    observer: str
    saved: str


def now() -> str:
    """Return the time as it is recorded."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def person(observer: str) -> str:
    """Return what tells whether two names are of one observer: without case, spaces too many, or ways to code letters.

    Programs of some systems write an accent as a sign of its own, which looks the same.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", " ".join(observer.split())).casefold())


def write_record(record: Record, folder: Path) -> None:
    """Write a worksheet to a new folder, all its files or none; raises OutputError where it cannot be written."""
    document = to_document(record)
    with new_folder(folder) as place:
        (place / JSON).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (place / TABLE).write_text(_table(record), encoding="utf-8", newline="")
        (place / MARKS).write_text(_marks(record, document), encoding="utf-8")


def to_document(record: Record) -> dict[str, Any]:
    """Return a worksheet as worksheet.schema.json describes it; what follows from the marks is said too."""
    sheet, basis = record.sheet, record.sheet.basis
    mitoses, grade = sheet.mitoses, sheet.grade
    return {
        "format": "wsi-idc-worksheet",
        "format_version": FORMAT,
        "observer": whole(record.observer),
        "saved": record.saved,
        "wsi_idc": version("wsi-idc"),
        "slide": {
            "slide": basis.slide,
            "fingerprint": basis.fingerprint,
            "size": [*basis.size],
            "mpp": asdict(basis.mpp),
        },
        "run": {"model": basis.model, "model_sha256": basis.model_sha256},
        "fields": [_field(f, bool(basis.why_not_countable)) for f in sheet.fields],
        "mitoses": asdict(mitoses) | {"source": SOURCE},
        "tubules": sheet.tubules,
        "pleomorphism": sheet.pleomorphism,
        "sum": grade and grade[0],
        "grade": grade and grade[1],
        "nuclei_method": METHOD,
        "note": RESEARCH_USE,
    }


def read_record(path: Path) -> Record:
    """Read worksheet.json, or that in a folder; raises DataError where it is none, or its numbers do not agree."""
    file = path / JSON if path.is_dir() else path
    try:
        document = read_json(file, _LARGEST, json.loads(SCHEMA.read_text(encoding="utf-8")))
        record = _record(document)
        again = json.loads(json.dumps(to_document(record)))
        parts = ("mitoses", "sum", "grade", "fields")
        if wrong := next((part for part in parts if again[part] != document[part]), None):
            raise ValueError(f"its {wrong} do not follow from its marks: it was changed by hand")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(
            f"{file}: is no worksheet of this version ({error}); give one that wsi-idc view saved"
        ) from error
    return record


def _field(one: SheetField, uncountable: bool) -> dict[str, Any]:
    told = asdict(one) | {"marks": [[*m] for m in one.marks], "mitoses": None if uncountable else len(one.marks)}
    told["mitoses_per_mm2"] = None if uncountable else round(len(one.marks) / one.area_mm2, 3)
    return told | {"nuclei": one.nuclei and asdict(one.nuclei) | {"area_um2": _listed(one.nuclei.area_um2)}}


def _listed(values: tuple[float, ...] | None) -> list[float] | None:
    return None if values is None else [*values]


def _record(document: Mapping[str, Any]) -> Record:
    slide, run = document["slide"], document["run"]
    width, height = slide["size"]
    basis = Basis(slide["slide"], slide["fingerprint"], (width, height), Mpp(**slide["mpp"]), **run)
    fields = tuple(_read_field(f, basis.mpp) for f in document["fields"])
    numbers = [f.number for f in fields]
    if len(set(numbers)) != len(numbers):
        raise ValueError("two of its fields have one number")
    sheet = Worksheet(basis, fields, document["tubules"], document["pleomorphism"])
    return Record(sheet, document["observer"], document["saved"])


def _read_field(told: Mapping[str, Any], mpp: Mpp) -> SheetField:
    found = told["nuclei"]
    if found is not None:
        areas = found["area_um2"]
        found = Nuclei(**(found | {"area_um2": None if areas is None else (areas[0], areas[1], areas[2])}))
    known = {name: told[name] for name in ("number", "x", "y", "width", "height", "area_mm2", "state", "came")}
    one = SheetField(**known, marks=tuple((x, y) for x, y in told["marks"]), nuclei=found)
    if not all(one.has(*m) for m in one.marks):
        raise ValueError(f"a mark of field {one.number} is outside of it")
    if not math.isclose(one.area_mm2, one.width * mpp.x * one.height * mpp.y / 1e6, rel_tol=1e-6):
        raise ValueError(f"the area of field {one.number} is not that of its pixels")
    return one


def _table(record: Record) -> str:
    """Write a row for each field, and one for all that are counted, which has the scores."""
    sheet = record.sheet
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    every = {"slide": sheet.basis.slide, "observer": whole(record.observer), "saved": record.saved}
    for one in to_document(record)["fields"]:
        nuclei = one["nuclei"] or {"count": "", "per_mm2": "", "area_um2": None}
        row = {name: one[name] for name in ("state", "came", "x", "y", "width", "height", "mitoses", "mitoses_per_mm2")}
        row |= {"field": one["number"], "area_mm2": round(one["area_mm2"], 6), "nuclei": nuclei["count"]}
        row |= {"nuclei_per_mm2": nuclei["per_mm2"], "nuclear_area_um2": (nuclei["area_um2"] or ["", ""])[1]}
        writer.writerow(cells(every | row))
    mitoses, grade = sheet.mitoses, sheet.grade or (None, None)
    row = {"field": "counted", "state": f"{mitoses.fields} fields", "area_mm2": round(mitoses.area_mm2, 6)}
    if not sheet.basis.why_not_countable:
        density = mitoses.per_mm2
        row |= {"mitoses": mitoses.count, "mitoses_per_mm2": None if density is None else round(density, 3)}
    row |= {"tubules": sheet.tubules, "pleomorphism": sheet.pleomorphism, "mitotic_score": mitoses.score}
    writer.writerow(cells(every | row | {"sum": grade[0], "grade": grade[1]}))
    return stream.getvalue()


def _marks(record: Record, document: Mapping[str, Any]) -> str:
    """Write the fields that are counted, locked, and a point annotation for each mark in them, as QuPath reads them."""
    basis = record.sheet.basis
    features = []
    for one in record.sheet.fields:
        if one.state != "counted":
            continue
        box = shapely.box(one.x, one.y, one.x + one.width, one.y + one.height)
        values = {"Mitoses": len(one.marks), "Area mm2": round(one.area_mm2, 6)}
        named = _annotation(f"Field {one.number}", "Field", FIELD) | {"isLocked": True, "measurements": values}
        features.append(feature(_id(basis.fingerprint, record, named, box.wkt), box, named))
        for number, (x, y) in enumerate(one.marks, 1):
            named = _annotation(f"Field {one.number}, mitosis {number}", "Mitosis", MITOSIS)
            identity = _id(basis.fingerprint, record, named, f"{x} {y}")
            features.append(geojson.Feature(id=identity, geometry=geojson.Point((x, y)), properties=named))
    said = {"slide": basis.slide, "slide_fingerprint": basis.fingerprint} | document["run"]
    return collection(features, said | {key: document[key] for key in ("observer", "saved", "wsi_idc")})


def _annotation(name: str, classification: str, colour: tuple[int, int, int]) -> dict[str, Any]:
    return {
        "objectType": "annotation",
        "name": name,
        "classification": {"name": classification, "color": [*colour]},
        "isLocked": False,
    }


def _id(fingerprint: str, record: Record, named: Mapping[str, Any], where: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "\n".join((fingerprint, record.observer, str(named["name"]), where))))
