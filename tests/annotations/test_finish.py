"""One bad object costs only itself, and of many of a kind the first are named and the others counted."""

import pytest

from wsi_idc.annotations.read import read_annotations
from wsi_idc.errors import DataError

from drawn import HOLE, SQUARE, annotated, areas, asap, feature, imagescope, layer, region, written

FAULTY = [
    feature([[[0, 0], [10**400, 0], [10, 10]]]),
    feature([[[0, 0], ["a", 0], [10, 10]]]),
    feature([[[0, 0], [1e12, 0], [10, 10]]]),
    feature([[[0], [1], [2]]]),
    feature("SQUARE"),
    feature(classification=[["Tumor"]]),
    feature(classification=7),
    {"type": "Feature", "geometry": {"type": "Polygon"}, "properties": []},
    {"type": "Feature", "geometry": 3},
    "a feature",
    None,
]


@pytest.mark.parametrize("one", FAULTY)
def test_a_bad_object_names_itself_and_costs_only_itself(tmp_path, one):
    found = read_annotations(written(tmp_path / "a.json", [feature(), one, feature()]))
    assert areas(found) == [10000, 10000]
    assert found.left_out == 1
    assert len(found.notes) == 1
    assert found.notes[0].startswith("object 2: ")


def test_bad_objects_of_xml(tmp_path):
    coordinate = '<Coordinate Order="0" X="a" Y="1"/>'
    broken = annotated(SQUARE, name="bad").replace("<Coordinates>", f"<Coordinates>{coordinate}")
    wild = annotated([[0, 0], [1e12, 0], [5, 5], [0, 9]], kind="Spline", name="wild")
    found = read_annotations(asap(tmp_path, annotated(SQUARE[:-1]), broken, wild))
    assert areas(found) == [10000]
    assert [note.partition(": ")[0] for note in found.notes] == ["annotation 2, 'bad'", "annotation 3, 'wild'"]
    ellipse = region([[0, 0], [1e12, 10]], kind=2, number=7)
    found = read_annotations(imagescope(tmp_path, layer(region(SQUARE[:-1]), ellipse)))
    assert areas(found) == [10000]
    assert "layer 1, region 7: cannot be read, left out (a coordinate of 1e+12 pixels" in found.notes[0]


def test_bad_measurements_and_colours_cost_not_even_the_object(tmp_path):
    odd = feature(measurements={"A": 1, "B": [2], "C": 10**400, "D": "x"}, color=[1, 2], classification={"name": "T"})
    found = read_annotations(written(tmp_path / "a.json", odd))
    assert found.annotations[0].measurements == {"A": 1}
    assert found.annotations[0].color is None
    assert found.notes == ["object 1: measurements that are no numbers, left out"]


def test_of_many_only_the_first_are_named(tmp_path):
    points = [feature([1, 1], "Point")] * 2000
    found = read_annotations(written(tmp_path / "a.json", [*points, *FAULTY[:1] * 15, feature()]))
    assert len(found.notes) == 22
    assert found.notes[-2:] == [
        "and 1,990 more objects: without an area, left out",
        "and 5 more objects: that cannot be read, left out",
    ]
    assert found.left_out == 2015


def test_a_file_of_which_nothing_can_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match="none of 2 objects can be read; object 1: OverflowError"):
        read_annotations(written(tmp_path / "a.json", FAULTY[:2]))


@pytest.mark.parametrize("key", ["childObjects", "children"])
@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("collection", [True, False])
def test_children_wherever_they_are(tmp_path, key, beside, collection):
    child = feature([HOLE], name="child")
    held = {key: {"type": "FeatureCollection", "features": [child]} if collection else [child]}
    parent = feature(name="parent") | held if beside else feature(name="parent", **held)
    found = read_annotations(written(tmp_path / "a.json", {"type": "FeatureCollection", "features": [parent]}))
    assert [a.name for a in found.annotations] == ["parent", "child"]


@pytest.mark.parametrize(("kind", "coordinates"), [("LineString", SQUARE), ("MultiLineString", [SQUARE, SQUARE[:3]])])
def test_lines_that_end_where_they_began_are_areas(tmp_path, kind, coordinates):
    one = feature(coordinates, kind)
    found = read_annotations(written(tmp_path / "a.json", [one, feature(SQUARE[:-1], "LineString")]))
    assert areas(found) == [10000]
    assert found.notes == [
        "object 1: a closed line, taken as the area within it",
        "object 2: LineString without an area, left out",
    ]


def test_decimal_commas_in_asap_and_imagescope(tmp_path):
    points = [["0,5", "0,5"], ["100,5", "0,5"], ["100,5", "100,5"], ["0,5", "100,5"]]
    for path in (asap(tmp_path, annotated(points)), imagescope(tmp_path, layer(region(points)))):
        found = read_annotations(path)
        assert areas(found) == [10000]
        assert found.annotations[0].geometry.bounds == (0.5, 0.5, 100.5, 100.5)
    both = [["1.000,5", "0"], *points[1:]]
    with pytest.raises(DataError, match=r"could not convert string to float: '1\.000,5'"):
        read_annotations(asap(tmp_path, annotated(both)))


def test_a_comma_that_may_be_one_of_thousands_is_told(tmp_path):
    points = [["1,100", "900"], ["1,500", "900"], ["1,500", "1,400"], ["1,100", "1,400"]]
    for path in (asap(tmp_path, annotated(points)), imagescope(tmp_path, layer(region(points)))):
        (note,) = read_annotations(path).notes
        assert "1,100 and the like were read as numbers with three decimals" in note
    points[0][0] = "1,1000"
    assert read_annotations(imagescope(tmp_path, layer(region(points)))).notes == []


@pytest.mark.parametrize("negative", ["-1", "True", "yes"])
def test_a_hole_is_one_however_that_is_said(tmp_path, negative):
    drawn = layer(region(SQUARE[:-1]), region(HOLE[:-1], negative=negative, number=2))
    assert areas(read_annotations(imagescope(tmp_path, drawn))) == [9600]
    (note,) = read_annotations(imagescope(tmp_path, drawn.replace(negative, "perhaps"))).notes
    assert "'perhaps', neither 0 nor 1" in note


def test_an_area_within_a_hole_is_kept_as_an_island_and_said_so(tmp_path):
    small = [[25, 25], [35, 25], [35, 35], [25, 35]]
    drawn = layer(region(SQUARE[:-1]), region(small, number=2), region(HOLE[:-1], negative=1, number=3))
    found = read_annotations(imagescope(tmp_path, drawn))
    assert areas(found) == [9600, 100]
    (note,) = found.notes
    assert "island" in note


def test_a_hole_as_large_as_an_area_takes_it_away(tmp_path):
    drawn = layer(region(SQUARE[:-1]), region(HOLE[:-1], number=2), region(HOLE[:-1], negative=1, number=3))
    found = read_annotations(imagescope(tmp_path, drawn))
    assert areas(found) == [9600]
    assert len(found.notes) == 1 and "cover" in found.notes[0]
