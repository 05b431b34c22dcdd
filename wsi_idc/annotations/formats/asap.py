"""ASAP XML in and out, after ASAP's own sources (annotation/XmlRepository.cpp of computationalpathologygroup/ASAP)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import dropwhile
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.drawn import Color, Drawn, normal, polygon
from wsi_idc.annotations.formats.xml import comma_note, corners, hexadecimal, number, numbers_of, printable, rgb
from wsi_idc.annotations.shapes import CLOSED_LINE, checked_points, is_closed, spline
from wsi_idc.annotations.source import Format, Source, read_each
from wsi_idc.base.polygons import polygons_of
from wsi_idc.errors import DataError

# ASAP itself knows no holes: these names of groups are what its users agreed upon. CAMELYON16 calls them "Exclusion",
# and "_2" in its first release.
HOLES = frozenset({"negative", "negatives", "exclusion", "exclusions", "exclude", "excluded", "hole", "holes", "_2"})
_AREAS = ("Polygon", "Spline", "Rectangle")
_WITHOUT_AREA = ("Dot", "PointSet", "Measurement", "None")


def _reads(document: Any) -> bool:
    return isinstance(document, Element) and document.tag == "ASAP_Annotations"


def _parse(root: Element, source: Source) -> Iterator[Drawn]:
    """Read the annotations; the class is the group, None for the group "None".

    A group that is one of `HOLES` by the name that the classes of the source give it, or is called "X negative" and
    part of a group X, or lies in such a group, is of holes: in the group that it is part of, or in all annotations
    where it is part of none.
    """
    if root.find("Annotations") is None and len(root):
        raise ValueError(f"has no Annotations, but <{root[0].tag}>")
    parents = {g.get("Name", ""): g.get("PartOfGroup", "None") for g in root.iterfind("AnnotationGroups/Group")}
    found = ((_where(element, n), element) for n, element in enumerate(root.iterfind("Annotations/Annotation"), 1))
    return read_each(found, lambda element, where: _drawn(element, where, parents, source.classes))


def _where(element: Element, number: int) -> str:
    name = element.get("Name", "")
    return f"annotation {number}, {name!r}" if name else f"annotation {number}"


def _drawn(element: Element, where: str, parents: Mapping[str, str], classes: Mapping[str, str]) -> Drawn:
    name, kind, group = element.get("Name", ""), element.get("Type", "None"), element.get("PartOfGroup", "None")
    points = _points(element)
    closed = kind not in (*_AREAS, *_WITHOUT_AREA) and is_closed(points)
    line = _line(group, parents)
    # From the group of holes outwards; the group within it, if any, is of no account.
    outwards = list(dropwhile(lambda g: not _is_hole(g, parents.get(g, "None"), classes), line))
    color = element.get("Color", "")
    return Drawn(
        where=where,
        shape=kind,
        parts=polygon([_outline(kind, points)]) if kind in _AREAS or closed else [],
        names=() if group == "None" else (group,),
        name=name,
        color=rgb(color) if re.fullmatch("#[0-9a-fA-F]{6}", color) else None,
        layers=frozenset([*line, ""]),
        cuts=[*outwards, ""][1] if outwards else None,
        note="; ".join(filter(None, [CLOSED_LINE if closed else "", comma_note(element.iter("Coordinate"))])),
    )


def _line(group: str, parents: Mapping[str, str]) -> list[str]:
    """Return a group, the group that it is part of, and so on; raises ValueError where that leads too far."""
    line: list[str] = []
    while group != "None" and group not in line:
        if len(line) >= 32:
            raise ValueError("a group within more than 32 others")
        line.append(group)
        group = parents.get(group, "None")
    return line


def _is_hole(group: str, parent: str, classes: Mapping[str, str]) -> bool:
    return classes.get(group, group).lower() in HOLES or group == f"{parent} negative"


def _points(element: Element) -> np.ndarray:
    """Return the corners (n, 2) of an annotation in their order."""
    rows = numbers_of(element.iterfind("Coordinates/Coordinate"), ("Order", "X", "Y"), "a coordinate")
    return checked_points(row[1:] for row in sorted(rows, key=lambda row: row[0]))


def _outline(kind: str, points: np.ndarray) -> np.ndarray:
    if kind == "Spline":
        return spline(points)
    if kind == "Rectangle" and len(points) == 2:
        return corners(points)
    return points


FORMAT = Format("ASAP XML", _reads, _parse)


def asap_xml(annotations: Sequence[Annotation], colors: Sequence[Color]) -> bytes:
    """Write annotations as ASAP XML: a group for each class, its holes in a group "negative" that is part of it.

    `colors` has one for each annotation. Several polygons of one annotation become several annotations of one name;
    ids, locks and measurements have no place in it. Raises DataError for a class that in ASAP means something else.
    """
    root = Element("ASAP_Annotations")
    place, groups = SubElement(root, "Annotations"), SubElement(root, "AnnotationGroups")
    classes: dict[str, Color] = {}
    holed: dict[str, str] = {}
    for annotation, color in zip(annotations, colors, strict=True):
        name = annotation.classification or "None"
        if annotation.classification and (name == "None" or name.lower() in HOLES):
            raise DataError(
                f"class {name!r}: the name means something else in ASAP XML; give it another with --class {name}=NEW"
            )
        classes.setdefault(name, color)
    for count, (annotation, color) in enumerate(zip(annotations, colors, strict=True), 1):
        group, name = annotation.classification or "None", annotation.name or f"Annotation {count}"
        # In a normal form: what is read back is written with the same corners in the same order.
        for part in polygons_of(normal(annotation.geometry)):
            _write(place, name, group, color, np.asarray(part.exterior.coords))
            for ring in part.interiors:
                holed[group] = "negative" if len(classes) == 1 or group == "None" else f"{group} negative"
                _write(place, f"{name}, hole", holed[group], color, np.asarray(normal(ring).coords))
    for group, color in classes.items():
        if group != "None":
            _write_group(groups, group, "None", color)
        if group in holed:
            _write_group(groups, holed[group], group, color)
    ElementTree.indent(root, "\t")
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _write(place: Element, name: str, group: str, color: Color, ring: np.ndarray) -> None:
    facts = {"Name": printable(name), "Type": "Polygon", "PartOfGroup": printable(group), "Color": hexadecimal(color)}
    coordinates = SubElement(SubElement(place, "Annotation", facts), "Coordinates")
    # The program closes rings by itself.
    for order, (x, y) in enumerate(ring[:-1].tolist()):
        SubElement(coordinates, "Coordinate", {"Order": str(order), "X": number(x), "Y": number(y)})


def _write_group(groups: Element, name: str, parent: str, color: Color) -> None:
    facts = {"Name": printable(name), "PartOfGroup": printable(parent), "Color": hexadecimal(color)}
    SubElement(SubElement(groups, "Group", facts), "Attributes")
