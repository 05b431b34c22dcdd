"""Cytomine's well-known text, whose y runs upwards."""

import pytest
from shapely import Polygon, box

from wsi_idc.annotations.read import read_annotations
from wsi_idc.annotations.source import Frame
from wsi_idc.errors import DataError

from drawn import areas, written

FRAME = Frame((1000, 500))
# In an image of 500 rows, 10 to 30 from below is 470 to 490 from above.
TEXT = "POLYGON ((100 10, 200 10, 200 30, 100 30, 100 10))"


@pytest.mark.parametrize(
    "document",
    [
        {"collection": [{"id": 3, "location": TEXT, "term": [44]}], "size": 1},
        {"id": 3, "location": TEXT, "term": [44]},
        [{"id": 3, "location": f"SRID=0;{TEXT}", "term": [{"id": 44, "name": "44"}]}],
    ],
    ids=["collection", "one", "list"],
)
def test_locations_are_turned_upside_down(tmp_path, document):
    (annotation,) = read_annotations(written(tmp_path / "a.json", document), slide=FRAME).annotations
    assert annotation.geometry.equals(box(100, 470, 200, 490))
    assert annotation.classification == "44"


def test_terms_can_be_renamed_and_named(tmp_path):
    rows = [
        {"location": TEXT, "term": [44]},
        {"location": TEXT, "term": [{"id": 5, "name": "IDC"}]},
        {"location": TEXT},
    ]
    found = read_annotations(written(tmp_path / "a.json", rows), {"44": "Tumor"}, FRAME)
    assert [a.classification for a in found.annotations] == ["Tumor", "IDC", None]


def test_plain_text_holes_and_parts(tmp_path):
    holed = "POLYGON ((0 0, 100 0, 100 100, 0 100, 0 0), (20 20, 40 20, 40 40, 20 40, 20 20))"
    many = "MULTIPOLYGON (((0 0, 10 0, 10 10, 0 0)), ((20 0, 30 0, 30 10, 20 0)))"
    closed = "LINESTRING (0 0, 10 0, 10 10, 0 10, 0 0)"
    found = read_annotations(written(tmp_path / "a.wkt", "\n".join([holed, many, closed, "POINT (1 1)"])), slide=FRAME)
    assert areas(found) == [9600, 100, 100]
    assert found.annotations[0].geometry.equals(
        Polygon([(0, 500), (100, 500), (100, 400), (0, 400)], [[(20, 480), (40, 480), (40, 460), (20, 460)]])
    )
    assert found.left_out == 1


def test_broken_locations_cost_only_themselves_and_the_slide_is_asked_for(tmp_path):
    deep = "GEOMETRYCOLLECTION (" * 100_000
    rows = [{"location": text} for text in (TEXT, "POLYGON ((0 0, 1", deep, "POLYGON" + "(" * 100_000, 5, "nothing")]
    path = written(tmp_path / "a.json", [*rows, 7])
    found = read_annotations(path, slide=FRAME)
    assert areas(found) == [2000]
    assert found.left_out == 6
    with pytest.raises(DataError, match=r"y runs upwards .*give the slide"):
        read_annotations(path)
