"""Annotation files of any program to annotations: read, named, mended, and holes cut."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import shapely
from shapely import MultiPolygon, Polygon, STRtree

from wsi_idc.annotations.annotation import Annotation, AnnotationFile
from wsi_idc.annotations.asap import parse_asap
from wsi_idc.annotations.imagescope import parse_imagescope
from wsi_idc.annotations.qupath_in import Drawn, parse_qupath
from wsi_idc.base.polygons import mended, polygons_of
from wsi_idc.errors import DataError

Area = Polygon | MultiPolygon


def read_annotations(path: Path, classes: Mapping[str, str] | None = None) -> AnnotationFile:
    """Read QuPath GeoJSON, ASAP XML or ImageScope XML, plain, gzipped or zipped, or the regions of a run's folder.

    The format is told from the content. `classes` gives classes of the file other names; what an empty name is given is
    left out. Outlines that cross themselves are mended, holes drawn as objects of their own are cut out of what they
    lie on, and the notes of the result name each that was mended or left out. Raises DataError where the file cannot be
    read or is of another format.
    """
    file = path / "regions.geojson" if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise DataError(f"{path}: a folder without regions.geojson; give an annotation file or the folder of a run")
    classes = dict(classes or {})
    try:
        return _finish(_parse(_unpacked(file.read_bytes()), classes), classes)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, LookupError, RecursionError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: {error}; give QuPath GeoJSON, ASAP XML or ImageScope XML") from error


def _unpacked(content: bytes) -> bytes:
    """Return what a gzipped file, or a zipped one of a single GeoJSON or XML, holds; other content as it is."""
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content)
    if not content.startswith(b"PK\x03\x04"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # Archives made on a Mac have a folder of shadows of their files.
        found = [
            n for n in archive.namelist() if n.lower().endswith((".geojson", ".json", ".xml")) and "__MAC" not in n
        ]
        if len(found) != 1:
            raise ValueError(f"a zip with {len(found)} annotation files in place of one")
        return archive.read(found[0])


def _parse(content: bytes, classes: Mapping[str, str]) -> list[Drawn]:
    # XML may begin with the byte order marks of UTF-8 or, from Windows, of UTF-16.
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"\xff\xfe", b"\xfe\xff")):
        try:
            root = ElementTree.fromstring(content)
        except ElementTree.ParseError as error:
            raise ValueError(f"is not well-formed XML ({error})") from error
        if root.tag == "ASAP_Annotations":
            return parse_asap(root, classes)
        if root.tag == "Annotations":
            return parse_imagescope(root)
        raise ValueError(f"XML of another kind, <{root.tag}>")
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"is neither JSON nor XML ({error})") from error
    return parse_qupath(document)


def _finish(drawn: Sequence[Drawn], classes: Mapping[str, str]) -> AnnotationFile:
    notes = [f"no object has the class {old!r} that was to be renamed" for old in _unknown(drawn, classes)]
    kept: list[tuple[Drawn, str | None, Area]] = []
    holes: list[tuple[Drawn, Area]] = []
    for one in drawn:
        classification = _class_of(one.names, classes)
        if one.note:
            notes.append(f"{one.where}: {one.note}")
        if classification == "":
            notes.append(f"{one.where}: its class {one.names[0]!r} was to be left out")
        elif (area := _area(one, notes)) is None:
            notes.append(f"{one.where}: {one.shape} without an area, left out")
        elif one.cuts is not None:
            holes.append((one, area))
        else:
            kept.append((one, classification, area))
    areas = _cut([(one, area) for one, _, area in kept], holes, notes)
    annotations = [
        Annotation(area, classification, one.name, one.color, one.locked, one.id, one.measurements)
        for (one, classification, _), area in zip(kept, areas, strict=True)
        if area is not None
    ]
    return AnnotationFile(annotations, notes)


def _unknown(drawn: Sequence[Drawn], classes: Mapping[str, str]) -> list[str]:
    named = {name for one in drawn for name in one.names}
    return [old for old in classes if old not in named]


def _class_of(names: Sequence[str], classes: Mapping[str, str]) -> str | None:
    """Return the new name of the first name that has one, else the first name; None without any."""
    return next((classes[name] for name in names if name in classes), names[0] if names else None)


def _area(one: Drawn, notes: list[str]) -> Area | None:
    """Return the valid area of what was drawn, None where it has none; what had to be mended is noted."""
    areas = [area for part in one.parts if (area := mended(part)) is not None]
    polygons = [polygon for area in areas for polygon in polygons_of(area)]
    joined = polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
    wrong = [shapely.is_valid_reason(part) for part in one.parts if not part.is_valid]
    if not joined.is_valid:
        # Parts of one object may lie on each other: together they are what any of them covers.
        wrong.append("its parts overlap")
        joined = mended(shapely.union_all(areas)) or joined
    if joined.is_empty:
        return None
    if wrong:
        parts = len(polygons_of(joined))
        notes.append(f"{one.where}: {wrong[0]}; mended, {parts} part{'s' * (parts > 1)} of {joined.area:.0f} px2")
    return joined


def _cut(
    kept: Sequence[tuple[Drawn, Area]], holes: Sequence[tuple[Drawn, Area]], notes: list[str]
) -> list[Area | None]:
    """Cut each hole out of the areas of its layer that it lies on; not out of one that lies in it, an island."""
    cuts: list[list[Area]] = [[] for _ in kept]
    tree = STRtree([area for _, area in kept])
    for hole, area in holes:
        shapely.prepare(area)
        near = sorted(tree.query(area, predicate="intersects").tolist())
        on = [i for i in near if hole.cuts in kept[i][0].layers and not area.covers(kept[i][1])]
        for i in on:
            cuts[i].append(area)
        if not on:
            notes.append(f"{hole.where}: a hole that lies on nothing of its layer, left out")
    areas: list[Area | None] = []
    for (one, area), out in zip(kept, cuts, strict=True):
        left = mended(shapely.difference(area, shapely.union_all(out))) if out else area
        if left is None:
            notes.append(f"{one.where}: holes cover all of it, left out")
        areas.append(left)
    return areas
