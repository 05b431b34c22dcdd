"""Annotation files of QuPath, ASAP and ImageScope, in each form that these programs write."""

import gzip
import json
import math
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import Polygon, box

from wsi_idc.annotations.asap import spline
from wsi_idc.annotations.read import read_annotations
from wsi_idc.errors import DataError

SQUARE = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
HOLE = [[20, 20], [20, 40], [40, 40], [40, 20], [20, 20]]
BOW_TIE = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
IDENTITY = "2aa7e31c-8437-499d-ba61-88aacd9a2c3f"


def written(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def feature(coordinates=(SQUARE,), kind="Polygon", **properties):
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": list(coordinates)},
        "properties": properties,
    }


def of_feature(tmp_path, one):
    (annotation,) = read_annotations(written(tmp_path / "a.geojson", one)).annotations
    return annotation


def annotated(points, kind="Polygon", group="tumor", name="a", color="#0000ff", step=1):
    order = list(range(len(points)))[::step]
    inside = "".join(f'<Coordinate Order="{i}" X="{points[i][0]}" Y="{points[i][1]}"/>' for i in order)
    facts = f'Name="{name}" Type="{kind}" PartOfGroup="{group}" Color="{color}"'
    return f"<Annotation {facts}><Coordinates>{inside}</Coordinates></Annotation>"


def asap(tmp_path, *annotations, groups=""):
    text = f"<Annotations>{''.join(annotations)}</Annotations><AnnotationGroups>{groups}</AnnotationGroups>"
    return written(tmp_path / "asap.xml", f'<?xml version="1.0"?><ASAP_Annotations>{text}</ASAP_Annotations>')


def region(points, kind=0, negative=0, text="", number=1):
    inside = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    facts = f'Id="{number}" Type="{kind}" NegativeROA="{negative}" Text="{text}"'
    return f"<Region {facts}><Attributes/><Vertices>{inside}</Vertices></Region>"


def layer(*regions, name="", attribute="Description", value="", color=255):
    attributes = f'<Attributes><Attribute Name="{attribute}" Id="0" Value="{value}"/></Attributes>'
    inside = f"{attributes}<Regions>{''.join(regions)}</Regions>"
    return f'<Annotation Id="1" Name="{name}" LineColor="{color}">{inside}</Annotation>'


def imagescope(tmp_path, *layers):
    return written(tmp_path / "imagescope.xml", f'<Annotations MicronsPerPixel="0.25">{"".join(layers)}</Annotations>')


def areas(found):
    return [a.geometry.area for a in found.annotations]


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


def test_cells_and_tiles_are_taken_with_a_note(tmp_path):
    found = read_annotations(written(tmp_path / "a.json", [feature(objectType="tile"), feature()]))
    assert len(found.annotations) == 2
    assert found.notes == ["object 1: is a tile in QuPath, taken as an annotation"]


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
        (b"\x1f\x8bbroken", "give QuPath GeoJSON"),
        (b"PK\x03\x04broken", "give QuPath GeoJSON"),
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


def test_asap_polygon_rectangle_and_what_has_no_area(tmp_path):
    path = asap(
        tmp_path,
        # The order is told by Order, not by the place in the file.
        annotated(SQUARE[:-1], step=-1),
        annotated([(0, 0), (10, 0), (10, 20), (0, 20)], "Rectangle", group="None"),
        annotated([(3, 4)], "Dot", name="d"),
        annotated([(0, 0), (50, 50), (50, 0)], "Measurement", name="m"),
        annotated([(0, 0), (50, 50), (50, 0)], "PointSet", name="p"),
    )
    found = read_annotations(path)
    assert areas(found) == [10000, 200]
    assert [a.classification for a in found.annotations] == ["tumor", None]
    assert found.annotations[0].color == (0, 0, 255)
    assert [note.split(": ")[1] for note in found.notes] == [
        f"{kind} without an area, left out" for kind in ("Dot", "Measurement", "PointSet")
    ]


GROUPS = '<Group Name="tumor" PartOfGroup="None"/><Group Name="{}" PartOfGroup="{}"/>'


@pytest.mark.parametrize("name", ["negative", "Negative", "exclusion", "Exclusion", "_2"])
def test_asap_negative_groups_are_holes(tmp_path, name):
    path = asap(tmp_path, annotated(HOLE[:-1], group=name), annotated(SQUARE[:-1]), groups=GROUPS.format(name, "None"))
    found = read_annotations(path)
    (annotation,) = found.annotations
    assert annotation.geometry.equals(Polygon(SQUARE, [HOLE]))
    assert found.notes == []


def test_asap_hole_groups_follow_the_names_given(tmp_path):
    normal = asap(tmp_path, annotated(SQUARE[:-1]), annotated(HOLE[:-1], group="normal"))
    assert areas(read_annotations(normal)) == [10000, 400]
    assert areas(read_annotations(normal, {"normal": "negative"})) == [9600]
    negative = asap(tmp_path, annotated(SQUARE[:-1]), annotated(HOLE[:-1], group="negative"))
    assert areas(read_annotations(negative, {"negative": "benign"})) == [10000, 400]


def test_asap_holes_keep_islands_and_cut_only_the_group_that_they_are_part_of(tmp_path):
    island = [(25, 25), (30, 25), (30, 30), (25, 30)]
    shapes = [annotated(SQUARE[:-1]), annotated(SQUARE[:-1], group="benign"), annotated(HOLE[:-1], group="negative")]
    everywhere = read_annotations(asap(tmp_path, *shapes, annotated(island)))
    assert areas(everywhere) == [9600, 9600, 25]
    within = read_annotations(asap(tmp_path, *shapes, groups=GROUPS.format("negative", "tumor")))
    assert areas(within) == [9600, 10000]
    # A group in a group of holes is one too.
    fat = [annotated(SQUARE[:-1]), annotated(HOLE[:-1], group="fat")]
    assert areas(read_annotations(asap(tmp_path, *fat, groups=GROUPS.format("fat", "negative")))) == [9600]


def test_a_hole_on_nothing_and_an_annotation_of_holes_are_told(tmp_path):
    far = [(x + 500, y) for x, y in HOLE[:-1]]
    halves = [[(0, 0), (60, 0), (60, 100), (0, 100)], [(50, 0), (100, 0), (100, 100), (50, 100)]]
    path = asap(tmp_path, annotated(SQUARE[:-1]), *(annotated(h, group="negative") for h in [far, *halves]))
    found = read_annotations(path)
    assert found.annotations == []
    assert "annotation 2, 'a': a hole that lies on nothing" in found.notes[0]
    assert "annotation 1, 'a': holes cover all of it" in found.notes[1]


@given(st.integers(3, 40), st.floats(1000, 20000), st.floats(0, 6))
def test_a_spline_passes_through_its_points_and_is_rounder_than_its_polygon(count, radius, turn):
    angle = turn + 2 * np.pi * np.arange(count) / count
    points = 30000 + radius * np.column_stack([np.cos(angle), np.sin(angle)])
    curve = spline(points)
    distances = np.linalg.norm(curve[:, None] - points[None], axis=2).min(0)
    np.testing.assert_allclose(distances, 0, atol=1e-6)
    drawn, straight = Polygon(curve).area, Polygon(points).area
    assert straight < drawn < np.pi * radius**2 * 1.001
    if count >= 12:
        # Off a circle by the two mirrored neighbours alone.
        assert drawn == pytest.approx(np.pi * radius**2, rel=0.01)


def test_a_spline_is_as_asap_computes_it():
    # The square's second side from (100, 0) to (100, 100) has all its true neighbours, each 100 px apart: with equal
    # distances the controls of a centripetal spline are p1 + (p2 - p0) / 6 and p2 - (p3 - p1) / 6.
    curve = spline(np.array(SQUARE[:-1], float))
    starts = [int(np.flatnonzero((curve == corner).all(1))[0]) for corner in SQUARE[:-1]]
    side = curve[starts[1] : starts[2]]
    t = np.linspace(0, 1, len(side), endpoint=False)[:, None]
    p1, c1, c2, p2 = np.array([[100, 0], [100 + 100 / 6, 100 / 6], [100 + 100 / 6, 100 - 100 / 6], [100, 100]])
    bezier = (1 - t) ** 3 * p1 + 3 * (1 - t) ** 2 * t * c1 + 3 * (1 - t) * t**2 * c2 + t**3 * p2
    np.testing.assert_allclose(side, bezier, atol=1e-9)
    assert 100 < curve[:, 0].max() < 100 + 100 / 6


def test_imagescope_layers_are_named_by_name_attribute_text_or_colour(tmp_path):
    square = SQUARE[:-1]
    path = imagescope(
        tmp_path,
        layer(region(square, text="seen"), name="Tumor", attribute="CaP"),
        layer(region(square), attribute="CaP"),
        layer(region(square), value="typed by hand"),
        layer(region(square, text="focus"), region(square)),
        # 65280 is green, 16711680 blue: BGR.
        layer(region(square), color=65280),
        layer(region(square), color=16711680),
    )
    names = [a.classification for a in read_annotations(path).annotations]
    assert names == ["Tumor", "CaP", "typed by hand", "focus", "#ff0000", "#00ff00", "#0000ff"]
    assert read_annotations(path).annotations[5].color == (0, 255, 0)
    # Whatever of it is renamed counts before what comes first.
    renamed = read_annotations(path, {"#00ff00": "IDC", "seen": "DCIS", "CaP": "other"}).annotations
    assert [a.classification for a in renamed[:2]] == ["other", "other"]
    assert renamed[5].classification == "IDC"
    only_text = read_annotations(path, {"seen": "DCIS"}).annotations
    assert only_text[0].classification == "DCIS"


def test_imagescope_shapes(tmp_path):
    path = imagescope(
        tmp_path,
        layer(
            region([(10, 20), (40, 60)], 1),
            region(SQUARE[:-1], 1),
            region([(0, 0), (400, 200)], 2),
            region([(0, 0), (400, 0), (400, 200), (0, 200)], 2),
            region([(0, 0), (9, 9)], 3, number=5),
            region([(0, 0), (9, 9)], 4, number=6),
            region([(0, 0), (400, 0)], 2, number=8),
        ),
    )
    found = read_annotations(path)
    assert areas(found)[:2] == [1200, 10000]
    assert areas(found)[2:] == [pytest.approx(np.pi * 200 * 100, rel=0.005)] * 2
    assert found.annotations[2].geometry.bounds == pytest.approx((0, 0, 400, 200), abs=0.3)
    assert [note.split(": ")[1] for note in found.notes] == [
        "arrow without an area, left out",
        "ruler without an area, left out",
        "ellipse without an area, left out",
    ]


def test_imagescope_negative_regions_cut_their_own_layer(tmp_path):
    square, hole = region(SQUARE[:-1]), region(HOLE[:-1], negative=1)
    found = read_annotations(imagescope(tmp_path, layer(square, hole, name="a"), layer(square, name="b")))
    assert found.annotations[0].geometry.equals(Polygon(SQUARE, [HOLE]))
    assert areas(found) == [9600, 10000]


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
def test_fifty_thousand_vertices_take_less_than_a_second(tmp_path, form):
    angle = 2 * np.pi * np.arange(50_000) / 50_000
    radius = 20000 + np.random.default_rng(0).normal(0, 2, len(angle))
    points = (50000 + radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])).round(2)
    expected = shapely.make_valid(Polygon(points), method="linework").area
    path = {
        "qupath": lambda: written(tmp_path / "a.json", feature([points.tolist()])),
        "asap": lambda: asap(tmp_path, annotated(points.tolist())),
        "imagescope": lambda: imagescope(tmp_path, layer(region(points.tolist()))),
    }[form]()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        found = read_annotations(path)
        seconds.append(time.perf_counter() - start)
    assert areas(found) == [pytest.approx(expected, rel=1e-9)]
    assert min(seconds) < 1


@pytest.mark.realdata
def test_tumor_039_of_camelyon16(shared: Path):
    found = read_annotations(shared / "annotations/asap_tumor_039.xml", {"metastasis": "IDC"})
    assert [a.classification for a in found.annotations] == ["IDC"] * 4
    # Of 148 outlines two of tumour and 25 of holes cross or touch themselves.
    assert len(found.notes) == 27
    assert all("; mended, " in note for note in found.notes)
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
