"""Annotations to files of other programs: each is read back and compared."""

import gzip
import json
import uuid
from xml.etree import ElementTree

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from shapely import MultiPolygon, Polygon, box

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.formats.qupath import to_geojson
from wsi_idc.annotations.read import read_annotations
from wsi_idc.annotations.write import whole_pixels, write_annotations
from wsi_idc.base.grid import Grid
from wsi_idc.base.polygons import mended
from wsi_idc.errors import DataError, OutputError
from wsi_idc.regions.interpolate import fine_grid, make_field
from wsi_idc.regions.outlining import Outlining
from wsi_idc.regions.regions import find_regions

HOLED = Polygon([(0, 0), (100, 0), (100, 100), (0, 100)], [[(20, 20), (20, 40), (40, 40), (40, 20)]])
IDENTITY = "2aa7e31c-8437-499d-ba61-88aacd9a2c3f"
XML = ["asap", "imagescope"]
# To four places, as files hold them: no numbers next to nothing.
coordinate = st.floats(0, 60).map(lambda v: round(v, 4))
points = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=12)
# Drawn by a hand that shakes: outlines that cross themselves, mended.
drawn = points.map(lambda p: mended(Polygon(p))).filter(lambda g: g is not None and g.area > 1e-6)
printed = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
annotation_of = st.builds(
    Annotation,
    geometry=drawn,
    classification=st.none() | st.sampled_from(["IDC", "DCIS", "Tumor: Positive", "Läsion"]),
    name=printed,
    color=st.none() | st.tuples(*[st.integers(0, 255)] * 3),
    locked=st.booleans(),
    id=st.none() | st.just(IDENTITY) | st.just("PathAnnotationObject"),
    measurements=st.dictionaries(st.sampled_from(["Cells", "Share"]), st.floats() | st.integers(0, 9)),
)


def written(path, annotations, **options):
    write_annotations(path, annotations, **options)
    return path.read_bytes()


def check_rules(text, kind="annotation"):
    """Assert each rule of what QuPath's import accepts, see tests/test_qupath.py."""
    document = json.loads(text)
    assert document["type"] == "FeatureCollection"
    seen = set()
    for feature in document["features"]:
        assert set(feature) == {"type", "id", "geometry", "properties"}
        assert feature["type"] == "Feature"
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        assert feature["id"] not in seen
        seen.add(feature["id"])
        properties = feature["properties"]
        known = {"objectType", "name", "classification", "color", "isLocked", "measurements"}
        assert set(properties) <= known
        assert properties["objectType"] == kind
        assert isinstance(properties["isLocked"], bool)
        assert properties.get("name", "x"), "a name that is none is left out"
        if "classification" in properties:
            assert set(properties["classification"]) == {"name", "color"}
            assert properties["classification"]["name"]
        for color in (properties.get("color"), properties.get("classification", {}).get("color")):
            assert color is None or (len(color) == 3 and all(type(v) is int and 0 <= v <= 255 for v in color))
        for value in properties.get("measurements", {}).values():
            assert value in ("NaN", "inf", "-inf") or (isinstance(value, int | float) and np.isfinite(value))
        geometry = feature["geometry"]
        assert geometry["type"] in ("Polygon", "MultiPolygon")
        shape = shapely.geometry.shape(geometry)
        assert shape.is_valid
        assert shapely.set_precision(shape, 0.01).equals(shape)
        polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        for ring in (ring for polygon in polygons for ring in polygon):
            assert ring[0] == ring[-1]
            assert len(ring) >= 4
            assert all(type(v) is int and abs(v) < 2**24 for corner in ring for v in corner)
    assert not any(value is None for value in leaves(document)), "a key without a value is left out"


def leaves(value):
    """Every value in a document that holds no others."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for one in inner for leaf in leaves(one)]


@settings(max_examples=300)
@given(st.lists(annotation_of, max_size=4))
def test_every_rule_of_qupath_holds_and_a_second_writing_changes_nothing(tmp_path_factory, annotations):
    path = tmp_path_factory.mktemp("out") / "a.geojson"
    first = written(path, annotations)
    check_rules(first)
    found = read_annotations(path)
    assert found.notes == []
    assert written(path, found.annotations) == first


@settings(max_examples=1000)
@given(
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.floats(0, 1, width=32)),
    st.sampled_from([0.2277, 0.499, 4.0]),
)
def test_regions_of_a_run_are_read_and_written_byte_by_byte(tmp_path_factory, heatmap, mpp):
    rows, cols = heatmap.shape
    grid = Grid((int(cols * 200 / mpp), int(rows * 200 / mpp)), (mpp, mpp), 50, 4.0)
    field = make_field(heatmap, grid, np.ones(fine_grid(grid).shape, bool))
    regions, *_ = find_regions(field, Outlining(0.5), key="slide and model")
    path = tmp_path_factory.getbasetemp() / "regions.geojson"
    path.write_text(to_geojson(regions), encoding="utf-8")
    before = path.read_bytes()
    check_rules(before)
    assert written(path, read_annotations(path).annotations) == before


@given(drawn)
def test_rounding_to_whole_pixels_is_valid_and_near_and_changes_nothing_twice(geometry):
    rounded = whole_pixels(geometry)
    if rounded is None:
        assert geometry.area < 60
        return
    assert rounded.is_valid
    coordinates = shapely.get_coordinates(rounded)
    assert (coordinates == np.round(coordinates)).all()
    assert shapely.equals_exact(whole_pixels(rounded), rounded)
    # Each edge moved by at most half a pixel's diagonal, where it did not vanish.
    assert rounded.symmetric_difference(geometry).area <= geometry.length + rounded.length


def test_what_a_file_holds_comes_back(tmp_path):
    measured = Annotation(HOLED, "IDC", "focus 1", (1, 2, 3), True, IDENTITY, {"Cells": 3, "Share": float("nan")})
    colored = Annotation(box(200, 0, 300, 100), color=(9, 8, 7))
    write_annotations(tmp_path / "a.geojson", [measured, colored])
    first, second = read_annotations(tmp_path / "a.geojson").annotations
    assert (first.classification, first.name, first.color, first.locked) == ("IDC", "focus 1", (1, 2, 3), True)
    assert (first.id, first.measurements["Cells"]) == (IDENTITY, 3)
    assert np.isnan(first.measurements["Share"])
    assert first.geometry.equals(HOLED)
    assert (second.classification, second.color) == (None, (9, 8, 7))


def test_gzip_holds_the_same_bytes_and_no_time(tmp_path):
    plain = written(tmp_path / "a.geojson", [Annotation(HOLED)])
    packed = written(tmp_path / "a.geojson.gz", [Annotation(HOLED)])
    assert gzip.decompress(packed) == plain
    assert packed[4:8] == bytes(4)


def test_ids_are_made_from_what_an_annotation_is(tmp_path):
    twins = [Annotation(HOLED), Annotation(HOLED), Annotation(HOLED, "IDC"), Annotation(HOLED, id="odd")]
    first = json.loads(written(tmp_path / "a.geojson", twins))["features"]
    assert len({f["id"] for f in first}) == 4
    alone = json.loads(written(tmp_path / "a.geojson", twins[2:3]))["features"]
    assert alone[0]["id"] == first[2]["id"]


def test_what_is_smaller_than_a_pixel_is_told(tmp_path):
    notes = write_annotations(tmp_path / "a.geojson", [Annotation(box(5.1, 5.1, 5.3, 5.3)), Annotation(HOLED)])
    assert notes == ["annotation 1: nothing of it is left in whole pixels, left out"]
    assert len(read_annotations(tmp_path / "a.geojson").annotations) == 1


@pytest.mark.parametrize("style", XML)
@settings(max_examples=100)
@given(geometries=st.lists(drawn, min_size=1, max_size=2), names=st.lists(printed, min_size=2, max_size=2))
def test_xml_comes_back_as_the_same_areas(tmp_path_factory, style, geometries, names):
    path = tmp_path_factory.getbasetemp() / f"{style}.xml"
    annotations = [Annotation(g, c, n) for g, c, n in zip(geometries, ["IDC", "DCIS"], names, strict=False)]
    first = written(path, annotations, style=style)
    found = read_annotations(path)
    assert found.notes == []
    for annotation in annotations:
        back = [a.geometry for a in found.annotations if a.classification == annotation.classification]
        assert shapely.union_all(back).symmetric_difference(annotation.geometry).area < 1e-6
        assert sum(g.area for g in back) == pytest.approx(annotation.geometry.area)
    assert written(path, found.annotations, style=style) == first


@pytest.mark.parametrize("style", XML)
def test_holes_of_one_class_do_not_cut_another(tmp_path, style):
    island = MultiPolygon([HOLED, box(25, 25, 30, 30)])
    annotations = [Annotation(island, "IDC"), Annotation(box(0, 0, 100, 100), "DCIS"), Annotation(HOLED, "benign")]
    assert write_annotations(tmp_path / "a.xml", annotations, style=style) == []
    found = read_annotations(tmp_path / "a.xml").annotations
    assert [(a.classification, a.geometry.area) for a in found] == [
        ("IDC", 25),
        ("IDC", 9600),
        ("DCIS", 10000),
        ("benign", 9600),
    ]


@pytest.mark.parametrize("style", XML)
def test_a_hole_under_another_annotation_of_the_class_is_told(tmp_path, style):
    over = [Annotation(HOLED, "IDC"), Annotation(box(30, 30, 60, 60), "IDC")]
    notes = write_annotations(tmp_path / "a.xml", over, style=style)
    assert notes == ["annotation 2: lies over a hole of annotation 1, which cuts it as well"]
    assert read_annotations(tmp_path / "a.xml").annotations[1].geometry.area == 900 - 100


def test_asap_groups_and_colours(tmp_path):
    write_annotations(tmp_path / "a.xml", [Annotation(HOLED, "IDC", color=(1, 2, 255)), Annotation(HOLED)])
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    groups = {g.get("Name"): g.get("PartOfGroup") for g in root.iter("Group")}
    # What has no class lies in no group, and its holes in one that is part of none.
    assert groups == {"IDC": "None", "IDC negative": "IDC", "negative": "None"}
    drawn = [(a.get("PartOfGroup"), a.get("Color"), len(a[0])) for a in root.iter("Annotation")]
    assert drawn[:2] == [("IDC", "#0102ff", 4), ("IDC negative", "#0102ff", 4)]
    assert [a.get("PartOfGroup") for a in root.iter("Annotation")][2:] == ["None", "negative"]
    # ASAP refuses a file with a group that is not listed.
    assert {a.get("PartOfGroup") for a in root.iter("Annotation")} <= {*groups, "None"}


@pytest.mark.parametrize("name", ["Negative", "None", "_2"])
def test_classes_that_asap_would_take_for_holes_are_refused(tmp_path, name):
    with pytest.raises(DataError, match=f"--class {name}=NEW"):
        write_annotations(tmp_path / "a.xml", [Annotation(HOLED, name)])
    assert list(tmp_path.iterdir()) == []


def test_imagescope_measures_in_micrometres(tmp_path):
    write_annotations(tmp_path / "a.xml", [Annotation(HOLED, "IDC", "x")], style="imagescope", mpp=(0.5, 0.5))
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    outer, hole = root.iter("Region")
    assert root.get("MicronsPerPixel") == "0.500000"
    assert (outer.get("Area"), outer.get("AreaMicrons"), outer.get("LengthMicrons")) == ("10000.0", "2500.0", "200.0")
    assert (outer.get("NegativeROA"), hole.get("NegativeROA"), hole.get("Area")) == ("0", "1", "400.0")
    # IDC is 200, 0, 0: red is the low byte.
    assert root[0].get("LineColor") == "200"


def test_xml_with_control_characters_can_be_read(tmp_path):
    write_annotations(tmp_path / "a.xml", [Annotation(HOLED, "IDC", "a\x01b\ttab & <\"'>")])
    assert read_annotations(tmp_path / "a.xml").annotations[0].name == "a\ufffdb\ttab & <\"'>"


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_tables_come_back_by_geopandas(tmp_path, suffix, recwarn):
    path = tmp_path / f"a{suffix}"
    island = MultiPolygon([HOLED, box(200, 0, 210, 10)])
    first = Annotation(HOLED, "IDC", "x", (1, 2, 255), True, IDENTITY, {"Cells": 3, "Area_mm2": 7})
    write_annotations(path, [first, Annotation(island)], mpp=(0.5, 0.25))
    assert not recwarn.list
    frame = geopandas.read_file(path) if suffix == ".gpkg" else geopandas.read_parquet(path)
    assert [g.equals(h) for g, h in zip(frame.geometry, [HOLED, island], strict=True)] == [True, True]
    row = frame.iloc[0]
    assert (row["classification"], row["name"], row["color"], row["id"]) == ("IDC", "x", "#0102ff", IDENTITY)
    assert row["locked"]
    assert row["area_px2"] == 9600
    assert row["area_mm2"] == pytest.approx(9600 * 0.125 / 1e6)
    assert (row["Cells"], row["measurement Area_mm2"]) == (3, 7)
    assert frame["classification"].isna().tolist() == [False, True]
    assert np.isnan(frame["Cells"].iloc[1])


@pytest.mark.parametrize("name", ["a.geojson", "a.xml", "b.xml", "a.gpkg", "a.parquet"])
def test_nothing_to_write_is_a_file_with_nothing(tmp_path, name):
    path = tmp_path / name
    assert write_annotations(path, [], style="imagescope" if name == "b.xml" else "asap") == []
    if name.endswith((".geojson", ".xml")):
        assert read_annotations(path).annotations == []
    else:
        frame = geopandas.read_file(path) if name.endswith("gpkg") else geopandas.read_parquet(path)
        assert len(frame) == 0
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_unknown_suffixes_and_places_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.shp: no format for this suffix; give \.geojson"):
        write_annotations(tmp_path / "a.shp", [])
    (tmp_path / "a.geojson").mkdir()
    with pytest.raises(OutputError, match=r"a\.geojson: cannot be written"):
        write_annotations(tmp_path / "a.geojson", [])
    assert [p.name for p in tmp_path.iterdir()] == ["a.geojson"]


@pytest.mark.realdata
def test_tumor_039_to_geojson_and_back(shared, tmp_path):
    drawn = read_annotations(shared / "annotations/asap_tumor_039.xml").annotations
    area = sum(a.geometry.area for a in drawn)
    write_annotations(tmp_path / "a.geojson", drawn)
    check_rules((tmp_path / "a.geojson").read_bytes())
    there = read_annotations(tmp_path / "a.geojson").annotations
    assert sum(a.geometry.area for a in there) == pytest.approx(area, rel=1e-3)
    write_annotations(tmp_path / "a.xml", there)
    back = read_annotations(tmp_path / "a.xml").annotations
    assert sum(a.geometry.area for a in back) == pytest.approx(area, rel=1e-3)
    # By annotation, of which several parts come back as several of its name: rounding to whole pixels takes 0.12 % of
    # the smallest, of 20,226 px2.
    for one in drawn:
        assert sum(a.geometry.area for a in back if a.name == one.name) == pytest.approx(one.geometry.area, rel=2e-3)
