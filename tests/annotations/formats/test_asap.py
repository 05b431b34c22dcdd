"""Annotations of ASAP: groups, holes, splines."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import Polygon

from wsi_idc.annotations.read import read_annotations
from wsi_idc.annotations.shapes import spline

from drawn import HOLE, SQUARE, annotated, areas, asap


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


@pytest.mark.parametrize("name", ["negative", "Negative", "exclusion", "Exclusions", "excluded", "_2"])
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
