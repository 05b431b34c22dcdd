"""Annotations of ImageScope: layers, shapes, holes."""

import numpy as np
import pytest
from shapely import Polygon

from wsi_idc.annotations.read import read_annotations

from drawn import HOLE, SQUARE, areas, imagescope, layer, region


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


def test_a_region_without_vertices_costs_itself_and_is_called_so(tmp_path):
    found = read_annotations(imagescope(tmp_path, layer(region([], kind=2), region(SQUARE[:-1]))))
    assert len(found.annotations) == found.left_out == 1
    assert "ellipse" in found.notes[0] and "without" in found.notes[0]
