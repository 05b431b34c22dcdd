"""Annotations of the Digital Slide Archive: elements of several shapes, and records of the server around them."""

import math

import numpy as np
import pytest
from shapely import Polygon, box

from wsi_idc.annotations.read import read_annotations

from drawn import HOLE, SQUARE, areas, written


def polyline(points=SQUARE[:-1], **more):
    return {"type": "polyline", "closed": True, "points": [[x, y, 0] for x, y in points], **more}


def document(*elements, name="Pathologist"):
    return {"name": name, "description": "", "elements": list(elements)}


@pytest.mark.parametrize(
    "wrapped",
    [lambda d: d, lambda d: {"_id": "1", "annotation": d}, lambda d: [{"annotation": d}], lambda d: [d]],
    ids=["document", "record", "list of records", "list"],
)
def test_polylines_with_holes_however_they_were_saved(tmp_path, wrapped):
    one = polyline(
        holes=[[[x, y, 0] for x, y in HOLE[:-1]]], group="IDC", label={"value": "left"}, lineColor="rgb(1, 2, 3)"
    )
    found = read_annotations(written(tmp_path / "a.json", wrapped(document(one))))
    (annotation,) = found.annotations
    assert annotation.geometry.equals(Polygon(SQUARE, [HOLE]))
    assert (annotation.classification, annotation.name, annotation.color) == ("IDC", "left", (1, 2, 3))
    assert found.notes == []


def test_the_class_is_the_group_the_label_or_the_name(tmp_path):
    elements = [polyline(group="A", label={"value": "B"}), polyline(label={"value": "B"}), polyline()]
    path = written(tmp_path / "a.json", document(*elements, name="C"))
    assert [a.classification for a in read_annotations(path).annotations] == ["A", "B", "C"]


def test_rectangles_ellipses_and_circles_turned(tmp_path):
    turned = {"center": [100, 50, 0], "width": 40, "height": 20, "rotation": math.pi / 2}
    slanted = turned | {"width": 40, "height": 0.002, "rotation": math.pi / 6}
    elements = [{"type": "rectangle", **turned}, {"type": "ellipse", **turned}, {"type": "rectangle", **slanted}]
    elements.append({"type": "circle", "center": [0, 0, 0], "radius": 100})
    found = read_annotations(written(tmp_path / "a.json", document(*elements)))
    shapes = [a.geometry for a in found.annotations]
    assert shapes[0].bounds == pytest.approx((90, 30, 110, 70))
    assert shapes[1].bounds == pytest.approx((90, 30, 110, 70), abs=0.5)
    assert shapes[1].area == pytest.approx(np.pi * 20 * 10, rel=0.03)
    # From x towards y, which is down: half of 40 at 30 degrees is 17.32 to the right and 10 down.
    right = max(np.asarray(shapes[2].exterior.coords).tolist())
    assert right == pytest.approx([117.32, 60], abs=0.01)
    assert shapes[3].area == pytest.approx(np.pi * 100**2, rel=0.005)


def test_other_elements_cost_only_themselves(tmp_path):
    elements = [
        {"type": "point", "center": [1, 1, 0]},
        polyline(closed=False),
        polyline(SQUARE, closed=False),
        {"type": "rectangle", "center": [1, 1, 0], "width": 10**400, "height": 3},
        {"type": "rectangle", "center": [1, 1, 0]},
        "nonsense",
        polyline([[0, 0], [1e12, 0], [0, 5]]),
    ]
    found = read_annotations(written(tmp_path / "a.json", document(*elements)))
    assert areas(found) == [10000]
    assert found.annotations[0].geometry.equals(box(0, 0, 100, 100))
    assert found.left_out == 6
    assert any(note.startswith("element 4: cannot be read, left out (OverflowError") for note in found.notes)
