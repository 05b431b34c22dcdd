"""Annotation files of QuPath, ASAP and ImageScope, in each form that these programs write."""

import gzip
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely import Polygon, box

from wsi_idc.annotations.read import read_annotations
from wsi_idc.errors import DataError

from drawn import HOLE, SQUARE, annotated, areas, asap, feature, imagescope, layer, region, written

BOW_TIE = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
IDENTITY = "2aa7e31c-8437-499d-ba61-88aacd9a2c3f"


def of_feature(tmp_path, one):
    (annotation,) = read_annotations(written(tmp_path / "a.geojson", one)).annotations
    return annotation


@pytest.mark.parametrize(
    "document",
    [
        {"type": "FeatureCollection", "features": [feature()]},
        feature(),
        [feature()],
        {"type": "Polygon", "coordinates": [SQUARE]},
        feature(([SQUARE],), "MultiPolygon"),
        {"type": "Feature", "geometry": {"type": "GeometryCollection", "geometries": [feature()["geometry"]]}},
        feature([[[x, y, 0] for x, y in SQUARE]]),
        feature([SQUARE[:-1]]),
    ],
    ids=["collection", "feature", "array", "geometry", "multi", "geometry collection", "with planes", "open ring"],
)
@pytest.mark.parametrize("packing", ["plain", "bom", "gzip", "zip"])
def test_every_root_and_packing_of_geojson_is_the_same_region(tmp_path, document, packing):
    path, content = tmp_path / "a.geojson", json.dumps(document).encode()
    if packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/inside.geojson", content)
            archive.writestr("__MACOSX/inside.geojson", b"shadow")
    else:
        path.write_bytes({"plain": content, "bom": b"\xef\xbb\xbf" + content, "gzip": gzip.compress(content)}[packing])
    found = read_annotations(path)
    (annotation,) = found.annotations
    assert annotation.geometry.equals(box(0, 0, 100, 100))
    assert found.notes == []


@pytest.mark.parametrize(
    ("classification", "name", "color"),
    [
        (None, None, None),
        ("Tumor", "Tumor", None),
        ({"name": "Tumor", "color": [1, 2, 3]}, "Tumor", (1, 2, 3)),
        # As in the real file: Java's packed ARGB, -3670016 is 0xffc80000.
        ({"name": "Tumor", "colorRGB": -3670016}, "Tumor", (200, 0, 0)),
        ({"name": "Tumor: Positive", "color": [1, 2, 3]}, "Tumor: Positive", (1, 2, 3)),
        ({"names": ["Tumor", "Positive"], "color": [1, 2, 3]}, "Tumor: Positive", (1, 2, 3)),
    ],
)
def test_classes_in_every_form(tmp_path, classification, name, color):
    annotation = of_feature(tmp_path, feature(classification=classification))
    assert (annotation.classification, annotation.color) == (name, color)


def test_properties_of_an_object(tmp_path):
    one = feature(name="seen", isLocked=True, color=[9, 8, 7], measurements={"Cells": 3, "Share": 0.5, "Odd": "NaN"})
    annotation = of_feature(tmp_path, one | {"id": IDENTITY})
    assert (annotation.name, annotation.locked, annotation.color, annotation.id) == ("seen", True, (9, 8, 7), IDENTITY)
    assert annotation.measurements["Cells"] == 3
    assert annotation.measurements["Share"] == 0.5
    assert math.isnan(annotation.measurements["Odd"])


def test_measurements_as_a_list_and_ids_that_are_none(tmp_path):
    listed = feature(measurements=[{"name": "Cells", "value": 3}], name=None)
    annotation = of_feature(tmp_path, listed | {"id": "PathAnnotationObject"})
    assert annotation.measurements == {"Cells": 3}
    assert (annotation.id, annotation.name) == (None, "")


def test_children_are_read_behind_their_parents(tmp_path):
    grandchild = feature([HOLE], name="c")
    parent = feature(name="a", childObjects=[feature([HOLE], name="b", childObjects=[grandchild])])
    found = read_annotations(written(tmp_path / "a.json", [parent, feature(name="d")]))
    assert [a.name for a in found.annotations] == ["a", "b", "c", "d"]
    assert areas(found) == [10000, 400, 400, 10000]


def test_what_has_no_area_is_left_out_and_named(tmp_path):
    line = feature([[0, 0], [10, 10]], "LineString", name="scale bar")
    point = feature([1, 1], "Point")
    flat = feature([[[0, 0], [5, 5], [10, 10], [0, 0]]])
    nothing = {"type": "Feature", "geometry": None, "properties": {}}
    found = read_annotations(written(tmp_path / "a.json", [line, point, flat, nothing, feature()]))
    assert areas(found) == [10000]
    assert [note.partition(": ")[0] for note in found.notes[:3]] == ["object 1, 'scale bar'", "object 2", "object 3"]
    assert "LineString without an area" in found.notes[0]
    assert "no geometry" in found.notes[-1]


@pytest.mark.parametrize("kind", ["tile", "tmaCore"])
def test_what_is_no_annotation_is_taken_with_a_note(tmp_path, kind):
    found = read_annotations(written(tmp_path / "a.json", [feature(objectType=kind), feature()]))
    assert len(found.annotations) == 2
    assert found.notes == [f"object 1: is a {kind} in QuPath, taken as an annotation"]


@pytest.mark.parametrize("form", ["qupath", "asap", "imagescope"])
def test_an_outline_that_crosses_itself_is_mended_and_reported(tmp_path, form):
    path = {
        "qupath": lambda: written(tmp_path / "a.json", feature([BOW_TIE])),
        "asap": lambda: asap(tmp_path, annotated(BOW_TIE[:-1])),
        "imagescope": lambda: imagescope(tmp_path, layer(region(BOW_TIE[:-1]))),
    }[form]()
    found = read_annotations(path)
    # Two triangles with a base of 10 and a height of 5; by the shoelace formula they cancel.
    assert areas(found) == [50]
    assert found.annotations[0].geometry.is_valid
    assert len(found.notes) == 1
    assert "Self-intersection[5 5]; mended, 2 parts of 50 px2" in found.notes[0]


def test_parts_that_lie_on_each_other_count_once(tmp_path):
    shifted = [[x + 50, y] for x, y in SQUARE]
    found = read_annotations(written(tmp_path / "a.json", feature(([SQUARE], [shifted]), "MultiPolygon")))
    assert areas(found) == [15000]
    assert "its parts overlap; mended" in found.notes[0]


def test_classes_are_renamed_left_out_and_missed(tmp_path):
    path = written(tmp_path / "a.json", [feature(classification=c) for c in ("Tumor", "Other", "Stroma")])
    found = read_annotations(path, {"Tumor": "IDC", "Other": "", "Tumour": "IDC"})
    assert [a.classification for a in found.annotations] == ["IDC", "Stroma"]
    assert found.notes == [
        "no object has the class 'Tumour' that was to be renamed",
        "object 2: its class 'Other' was to be left out",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "neither JSON nor XML"),
        (b"{", "neither JSON nor XML"),
        (b'{"a": 1}', "is not GeoJSON"),
        (b"[3]", "is not GeoJSON"),
        (b"7", "is not GeoJSON"),
        (b"<Annotations><", "not well-formed"),
        (b"<svg/>", "XML of another kind, <svg>"),
        (b"\x1f\x8bbroken", "a damaged gzip"),
        (b"PK\x03\x04broken", "a damaged zip"),
        (b'{"type": "Polygon", "coordinates": [[[0, 0], [1, "a"], [1, 1], [0, 0]]]}', "could not convert"),
        (b'{"type": "Polygon", "coordinates": [[[0, 0], [1, NaN], [1, 1], [0, 0]]]}', "not a finite number"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content, reason):
    with pytest.raises(DataError, match=r"a\.geojson") as caught:
        read_annotations(written(tmp_path / "a.geojson", content))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_and_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"none\.xml"):
        read_annotations(tmp_path / "none.xml")
    with pytest.raises(DataError, match=r"without regions\.geojson"):
        read_annotations(tmp_path)
    written(tmp_path / "regions.geojson", feature())
    assert areas(read_annotations(tmp_path)) == [10000]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_of_other_encodings(tmp_path, encoding):
    text = imagescope(tmp_path, layer(region(SQUARE[:-1]), name="Läsion")).read_text(encoding="utf-8")
    path = written(tmp_path / "b.xml", f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding))
    assert [a.classification for a in read_annotations(path).annotations] == ["Läsion"]


@pytest.mark.parametrize(
    "broken",
    ['<Coordinate Order="0" X="a" Y="1"/>', '<Coordinate Order="0" Y="1"/>', '<Coordinate Order="x" X="0" Y="1"/>'],
)
def test_broken_coordinates_are_refused(tmp_path, broken):
    text = annotated(SQUARE).replace("<Coordinates>", f"<Coordinates>{broken}")
    with pytest.raises(DataError, match=r"asap\.xml: annotation 1, 'a'"):
        read_annotations(asap(tmp_path, text))
    text = region(SQUARE).replace("<Vertices>", '<Vertices><Vertex X="a" Y="0"/>')
    with pytest.raises(DataError, match=r"imagescope\.xml: layer 1, region 1"):
        read_annotations(imagescope(tmp_path, layer(text)))


@pytest.mark.parametrize("form", ["qupath", "asap", "imagescope"])
def test_fifty_thousand_vertices(tmp_path, form):
    angle = 2 * np.pi * np.arange(50_000) / 50_000
    radius = 20000 + np.random.default_rng(0).normal(0, 2, len(angle))
    points = (50000 + radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])).round(2)
    expected = shapely.make_valid(Polygon(points), method="linework").area
    path = {
        "qupath": lambda: written(tmp_path / "a.json", feature([points.tolist()])),
        "asap": lambda: asap(tmp_path, annotated(points.tolist())),
        "imagescope": lambda: imagescope(tmp_path, layer(region(points.tolist()))),
    }[form]()
    assert areas(read_annotations(path)) == [pytest.approx(expected, rel=1e-9)]


@pytest.mark.realdata
def test_tumor_039_of_camelyon16(shared: Path):
    found = read_annotations(shared / "annotations/asap_tumor_039.xml", {"metastasis": "IDC"})
    assert [a.classification for a in found.annotations] == ["IDC"] * 4
    # Of 148 outlines two of tumour and 25 of holes cross or touch themselves.
    assert all("; mended, " in note for note in found.notes[:10])
    assert found.notes[10:] == ["and 17 more objects: that had to be mended"]
    # The four outlines less the 144 holes, computed from the file with shapely alone.
    assert sum(areas(found)) == pytest.approx(196407955.85, abs=0.1)


@pytest.mark.realdata
def test_the_two_files_of_one_slide_agree(shared: Path):
    names = {"CaP": "Tumor", "#ff0000": "Negative", "#00ffff": "Other"}
    drawn = read_annotations(shared / "annotations/imagescope_TCGA-EJ-5519.xml", names).annotations
    converted = {
        a.classification: a for a in read_annotations(shared / "annotations/qupath_TCGA-EJ-5519.json").annotations
    }
    assert sorted(converted) == sorted(a.classification for a in drawn) == ["Negative", "Other", "Tumor"]
    for one in drawn:
        same = converted[one.classification].geometry
        assert same.area == pytest.approx(one.geometry.area, rel=1e-6)
        assert one.geometry.intersection(same).area / one.geometry.union(same).area > 0.99998
