"""Aperio ImageScope XML in and out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
import shapely

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.drawn import Color, Drawn, normal, polygon
from wsi_idc.annotations.formats.layers import color_of, is_negative, layers_of, points_of, vertices_of
from wsi_idc.annotations.formats.xml import comma_note, corners, hexadecimal, number, printable
from wsi_idc.annotations.shapes import box_of, ellipse
from wsi_idc.annotations.source import Format, Source, read_each
from wsi_idc.base.polygons import polygons_of

_SHAPES = {"1": "rectangle", "2": "ellipse", "3": "arrow", "4": "ruler"}
_WITHOUT_AREA = ("arrow", "ruler")


def _reads(document: Any) -> bool:
    return isinstance(document, Element) and document.tag == "Annotations"


def _parse(root: Element, source: Source) -> Iterator[Drawn]:
    """Read the regions; one with NegativeROA="1" is a hole in those of its layer.

    What may name the class, the best first: the layer's name, the attribute that the layer was given, the text of the
    region, the layer's colour as "#rrggbb".
    """
    found = ((where, (region, number, layer)) for where, region, number, layer in layers_of(root))
    return read_each(found, _drawn)


def _drawn(one: tuple[Element, int, Element], where: str) -> Drawn:
    region, layer_number, layer = one
    text, shape = region.get("Text", ""), _SHAPES.get(region.get("Type", "0"), "outline")
    color = color_of(layer)
    names = [layer.get("Name", ""), _attribute(layer), text, "" if color is None else hexadecimal(color)]
    points = points_of(region, where)
    return Drawn(
        where=f"{where}, {text!r}" if text else where,
        shape=shape,
        parts=[] if shape in _WITHOUT_AREA else polygon([_outline(shape, points)]),
        names=tuple(name.strip() for name in names if name.strip()),
        name=text,
        color=color,
        locked=layer.get("ReadOnly") == "1",
        layers=frozenset([str(layer_number)]),
        cuts=str(layer_number) if is_negative(region) else None,
        note=comma_note(vertices_of(region)),
    )


def _attribute(layer: Element) -> str:
    """Return the attribute of a layer that names it, "" for none: ImageScope gives each one called "Description"."""
    for attribute in layer.iterfind("Attributes/Attribute"):
        if text := attribute.get("Value" if attribute.get("Name") == "Description" else "Name", ""):
            return text
    return ""


def _outline(shape: str, points: np.ndarray) -> np.ndarray:
    """Return the outline of a region; a rectangle or ellipse that was edited has all its vertices and is an outline."""
    if shape == "rectangle" and len(points) == 2:
        return corners(points)
    return ellipse(*box_of(points)) if shape == "ellipse" and 2 <= len(points) <= 4 else points


FORMAT = Format("ImageScope XML", _reads, _parse)


def imagescope_xml(
    annotations: Sequence[Annotation], colors: Sequence[Color], mpp: tuple[float, float] | None = None
) -> bytes:
    """Write annotations as ImageScope XML: a layer for each class, holes as regions with NegativeROA="1" in it.

    `colors` has one for each annotation; a layer takes that of its first. `mpp` (x, y), in um per level-0 pixel, gives
    the lengths and areas in um. Several polygons of one annotation become several regions of one text; ids, locks and
    measurements have no place in it. A layer without a class has no name, and when read back the class of its text or
    colour.
    """
    root = Element("Annotations", {} if mpp is None else {"MicronsPerPixel": f"{sum(mpp) / 2:.6f}"})
    layers: dict[str, Element] = {}
    for annotation, color in zip(annotations, colors, strict=True):
        name = annotation.classification or ""
        if name not in layers:
            layers[name] = _write_layer(root, len(layers) + 1, name, color)
        regions = layers[name]
        # In a normal form: what is read back is written with the same vertices in the same order.
        for part in polygons_of(normal(annotation.geometry)):
            for negative, ring in [(False, part.exterior), *((True, ring) for ring in part.interiors)]:
                _write_region(regions, normal(shapely.Polygon(ring)), annotation.name, negative, mpp)
    ElementTree.indent(root, "\t")
    text: bytes = ElementTree.tostring(root, encoding="utf-8")
    return text + b"\n"


def _write_layer(root: Element, number_: int, name: str, color: Color) -> Element:
    red, green, blue = color
    facts = {"Id": str(number_), "Name": printable(name), "ReadOnly": "0", "NameReadOnly": "0"}
    facts |= {"LineColorReadOnly": "0", "Incremental": "0", "Type": "4"}
    facts |= {"LineColor": str(red | green << 8 | blue << 16), "Visible": "1", "Selected": "0"}
    layer = SubElement(root, "Annotation", facts)
    SubElement(SubElement(layer, "Attributes"), "Attribute", {"Name": "Description", "Id": "0", "Value": ""})
    regions = SubElement(layer, "Regions")
    SubElement(layer, "Plots")
    return regions


def _write_region(
    regions: Element, outline: shapely.Polygon, text: str, negative: bool, mpp: tuple[float, float] | None
) -> None:
    count = str(len(regions) + 1)
    facts = {"Id": count, "Type": "0", "Zoom": "1", "Selected": "0"}
    facts |= {"Length": f"{outline.length:.1f}", "Area": f"{outline.area:.1f}"}
    if mpp is not None:
        physical = shapely.transform(outline, lambda xy: xy * np.array(mpp))
        facts |= {"LengthMicrons": f"{physical.length:.1f}", "AreaMicrons": f"{physical.area:.1f}"}
    facts |= {"Text": printable(text), "NegativeROA": str(int(negative)), "InputRegionId": "0"}
    region = SubElement(regions, "Region", facts | {"Analyze": "1", "DisplayId": count})
    SubElement(region, "Attributes")
    vertices = SubElement(region, "Vertices")
    # ImageScope closes rings by itself.
    for x, y in np.asarray(outline.exterior.coords)[:-1].tolist():
        SubElement(vertices, "Vertex", {"X": number(x), "Y": number(y), "Z": "0"})
