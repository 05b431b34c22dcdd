"""HALO's .annotations: shapes in words, vertices of two corners, holes."""

import numpy as np
import pytest
from shapely import box

from wsi_idc.annotations.read import read_annotations
from wsi_idc.errors import DataError

from drawn import HOLE, SQUARE, areas, written


def halo(tmp_path, *layers, name="a.annotations"):
    return written(tmp_path / name, f'<?xml version="1.0"?><Annotations>{"".join(layers)}</Annotations>')


def layer(*regions, name="IDC", color=65535):
    inside = f"<Regions>{''.join(regions)}</Regions>"
    return f'<Annotation LineColor="{color}" Name="{name}" Visible="True">{inside}</Annotation>'


def region(points, kind="Polygon", ends=0, negative=0):
    inside = "".join(f'<V X="{x}" Y="{y}" />' for x, y in points)
    facts = f'Type="{kind}" HasEndcaps="{ends}" NegativeROA="{negative}"'
    return f"<Region {facts}><Vertices>{inside}</Vertices><Comments /></Region>"


def test_polygons_rectangles_and_ellipses(tmp_path):
    path = halo(
        tmp_path,
        layer(region(SQUARE[:-1]), region([(30, 70), (10, 20)], "Rectangle")),
        layer(region([(0, 0), (400, 200)], "Ellipse"), name="Stroma", color=255),
    )
    found = read_annotations(path)
    assert found.notes == []
    assert [a.classification for a in found.annotations] == ["IDC", "IDC", "Stroma"]
    # 65535 is 0x00ffff in blue, green, red.
    assert [a.color for a in found.annotations] == [(255, 255, 0), (255, 255, 0), (255, 0, 0)]
    assert areas(found)[:2] == [10000, 20 * 50]
    ellipse = found.annotations[2].geometry
    assert ellipse.bounds == pytest.approx((0, 0, 400, 200), abs=0.25)
    assert ellipse.area == pytest.approx(np.pi * 200 * 100, rel=0.005)


def test_negative_regions_are_holes_in_their_layer(tmp_path):
    hole = region(HOLE[:-1], negative=1)
    path = halo(tmp_path, layer(region(SQUARE[:-1]), hole), layer(region(SQUARE[:-1]), name="Other"))
    found = read_annotations(path)
    assert [(a.classification, a.geometry.area) for a in found.annotations] == [("IDC", 9600), ("Other", 10000)]
    round_hole = region([(40, 40), (60, 60)], "Ellipse", negative=1)
    assert areas(read_annotations(halo(tmp_path, layer(region(SQUARE[:-1]), round_hole)))) == [
        pytest.approx(10000 - np.pi * 100, abs=10)
    ]


def test_what_has_no_area_in_halo(tmp_path):
    lines = [
        region([(0, 0), (9, 9)], "Ruler"),
        region([(5, 5)], "Pin"),
        region([(0, 0), (50, 0), (50, 50)], ends=1),
    ]
    found = read_annotations(halo(tmp_path, layer(*lines, region(SQUARE, "Polyline"), region(SQUARE[:-1]))))
    assert areas(found) == [10000, 10000]
    assert found.left_out == 3
    assert [note.rpartition(": ")[2] for note in found.notes] == [
        "ruler without an area, left out",
        "pin without an area, left out",
        "polygon without an area, left out",
        "a closed line, taken as the area within it",
    ]


@pytest.mark.parametrize("name", ["a.annotations", "a.xml", "a.txt"])
def test_decimal_commas_and_any_name(tmp_path, name):
    points = [("0,5", "0,5"), ("100,5", "0,5"), ("100,5", "1,005e2"), ("0,5", "100,5")]
    (annotation,) = read_annotations(halo(tmp_path, layer(region(points)), name=name)).annotations
    assert annotation.geometry.equals(box(0.5, 0.5, 100.5, 100.5))


def test_an_empty_layer_is_nothing_and_another_dialect_is_refused(tmp_path):
    assert read_annotations(halo(tmp_path, layer())).annotations == []
    with pytest.raises(DataError, match="no Regions in its Annotation, but <Shapes>"):
        read_annotations(halo(tmp_path, "<Annotation><Shapes/></Annotation>"))
