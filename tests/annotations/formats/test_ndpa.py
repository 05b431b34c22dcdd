"""Hamamatsu's .ndpa: nanometres from the centre of the glass, and the slide that they need."""

import numpy as np
import pytest
from shapely import box

from wsi_idc.annotations import source
from wsi_idc.annotations.read import read_annotations
from wsi_idc.annotations.source import Frame
from wsi_idc.errors import DataError

from drawn import areas, written

# 2,000 x 1,000 pixels of 500 x 250 nm, whose middle lies 3 mm right of and 1 mm above the middle of the glass.
FRAME = Frame((2000, 1000), (0.5, 0.25), (3_000_000.0, -1_000_000.0))


def nm(x, y):
    return (x - 1000) * 500 + 3_000_000, (y - 500) * 250 - 1_000_000


def view(inside, title="IDC", kind="freehand", unit="nanometers", color="#ff0000", number=1):
    head = f"<title>{title}</title><details/><coordformat>{unit}</coordformat><lens>1.0</lens><x>0</x><y>0</y>"
    one = f'<annotation type="{kind}" displayname="Annotate" color="{color}">{inside}</annotation>'
    return f'<ndpviewstate id="{number}">{head}{one}</ndpviewstate>'


def outline(points, closed=1):
    inside = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in (nm(*p) for p in points))
    return f"<measuretype>0</measuretype><closed>{closed}</closed><pointlist>{inside}</pointlist>"


def ndpa(tmp_path, *views, name="a.ndpi.ndpa"):
    text = f'<?xml version="1.0" encoding="utf-8" standalone="yes"?><annotations>{"".join(views)}</annotations>'
    return written(tmp_path / name, text)


def test_outlines_and_circles_lie_where_they_were_drawn(tmp_path):
    x, y = nm(300, 400)
    circle = f"<x>{x}</x><y>{y}</y><radius>50000</radius><measuretype>0</measuretype>"
    path = ndpa(
        tmp_path,
        view(outline([(100, 200), (500, 200), (500, 300), (100, 300)])),
        view(circle, kind="circle", title="", color="#00ff00"),
    )
    found = read_annotations(path, slide=FRAME)
    assert found.annotations[0].geometry.equals(box(100, 200, 500, 300))
    assert [a.classification for a in found.annotations] == ["IDC", "#00ff00"]
    assert found.annotations[1].color == (0, 255, 0)
    # 50 um are 100 pixels across and 200 down.
    assert found.annotations[1].geometry.bounds == pytest.approx((200, 200, 400, 600), abs=0.5)
    assert areas(found)[1] == pytest.approx(np.pi * 100 * 200, rel=0.005)


def test_lines_pins_and_other_units_cost_only_themselves(tmp_path):
    square = [(0, 0), (100, 0), (100, 100), (0, 100)]
    path = ndpa(
        tmp_path,
        view(outline(square, closed=0), number=1),
        view(outline([*square, square[0]], closed=0), number=2),
        view("<x>1</x><y>1</y><icon>pinred</icon>", kind="pin", number=3),
        view(outline(square), unit="pixels", number=4),
        view("<closed>1</closed><pointlist><point><x>a</x><y>1</y></point></pointlist>", number=5),
    )
    found = read_annotations(path, slide=FRAME)
    assert areas(found) == [10000]
    assert found.left_out == 4
    assert "annotation 4, 'IDC': cannot be read, left out (coordinates in 'pixels', not in nanometers)" in found.notes


def test_the_slide_is_asked_for_and_found_beside_the_file(tmp_path, monkeypatch):
    path = ndpa(tmp_path, view(outline([(0, 0), (10, 0), (10, 10), (0, 10)])))
    with pytest.raises(DataError, match=r"from the centre of the glass; give the slide .* --slide SLIDE"):
        read_annotations(path)
    with pytest.raises(DataError, match=r"does not state its scale and hamamatsu\.XOffsetFromSlideCentre"):
        read_annotations(path, slide=Frame((10, 10), (1.0, 1.0)))
    asked = []
    monkeypatch.setattr(source, "frame_of", lambda slide: asked.append(slide) or FRAME)
    (tmp_path / "a.ndpi").write_bytes(b"")
    assert areas(read_annotations(path)) == [100]
    assert asked == [tmp_path / "a.ndpi"]


def test_what_a_slide_states_of_its_place():
    stated = {"hamamatsu.XOffsetFromSlideCentre": "-1234", "hamamatsu.YOffsetFromSlideCentre": "5678"}
    assert source._centre(stated) == (-1234, 5678)
    assert source._centre({}) is None
    assert source._centre(stated | {"hamamatsu.YOffsetFromSlideCentre": "?"}) is None
