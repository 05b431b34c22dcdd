import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.errors import DataError
from wsi_idc.viewer import edits
from wsi_idc.viewer.edits import Edited, History, beginning

SIZE = (1000, 800)
LEFT = Annotation(shapely.box(100, 100, 300, 300), "IDC", "IDC 1", id="left", measurements={"Patches": 4})
RIGHT = Annotation(shapely.box(500, 100, 700, 300), "IDC", id="right")
BOTH = (LEFT, RIGHT)


def corners(*bounds):
    return [(float(x), float(y)) for x, y in shapely.get_coordinates(shapely.box(*bounds))[:-1]]


def area(edited):
    return sum(o.geometry.area for o in edited.outlines)


def test_what_is_drawn_is_a_region_on_the_slide_that_shares_nothing_with_others():
    made = edits.draw(BOTH, corners(250, 150, 550, 250), SIZE)
    assert len(made.outlines) == 3 and made.outlines[:2] == BOTH
    assert made.outlines[2].geometry.equals(shapely.box(300, 150, 500, 250))
    assert made.chosen == (made.outlines[2].id,) and "stays theirs" in made.note
    beyond = edits.draw(BOTH, corners(900, 700, 1200, 900), SIZE)
    assert beyond.outlines[2].geometry.equals(shapely.box(900, 700, 1000, 800))
    for points in (corners(120, 120, 200, 200), corners(1100, 0, 1200, 50), [(1.0, 1.0), (2.0, 2.0)]):
        with pytest.raises(DataError, match=r"left of|three corners"):
            edits.draw(BOTH, points, SIZE)


def test_what_crosses_itself_is_mended_and_said():
    made = edits.draw((), [(0, 0), (100, 100), (100, 0), (0, 100)], SIZE)
    assert len(made.outlines) == 2 and "crossed itself and was mended: 2 parts" in made.note
    assert all(o.geometry.is_valid for o in made.outlines)


def test_a_region_takes_in_what_is_drawn_and_is_named_as_before():
    made = edits.extend(BOTH, ["left"], corners(250, 150, 600, 250), SIZE)
    assert [o.id for o in made.outlines] == ["left", "right"]
    assert made.outlines[0].geometry.equals(shapely.union(LEFT.geometry, shapely.box(300, 150, 500, 250)))
    assert made.outlines[0].name == "IDC 1" and made.outlines[0].measurements == {}
    with pytest.raises(DataError, match="does not touch"):
        edits.extend(BOTH, ["left"], corners(400, 400, 450, 450), SIZE)
    for chosen in ([], ["left", "right"]):
        with pytest.raises(DataError, match="choose one region"):
            edits.extend(BOTH, chosen, corners(250, 150, 350, 250), SIZE)


def test_a_cut_is_a_hole_a_bay_or_parts():
    hole = edits.cut(BOTH, [], corners(150, 150, 200, 200), SIZE)
    assert len(hole.outlines[0].geometry.interiors) == 1 and hole.outlines[1] == RIGHT
    bay = edits.cut(BOTH, ["left"], corners(250, 150, 550, 200), SIZE)
    assert bay.outlines[0].geometry.area == 40_000 - 50 * 50 and bay.outlines[1] == RIGHT
    both = edits.cut(BOTH, [], corners(250, 150, 550, 200), SIZE)
    assert both.outlines[1].geometry.area == 40_000 - 50 * 50
    parts = edits.cut(BOTH, ["left"], corners(50, 150, 350, 200), SIZE)
    assert len(parts.outlines) == 3 and parts.outlines[0].id == "left" and "2 regions now" in parts.note
    with pytest.raises(DataError, match="covers all of a region"):
        edits.cut(BOTH, [], corners(50, 50, 350, 350), SIZE)
    with pytest.raises(DataError, match="lies on no region"):
        edits.cut(BOTH, [], corners(400, 400, 450, 450), SIZE)


def test_a_line_parts_a_region_and_its_hole():
    holed = edits.cut(BOTH, ["left"], corners(150, 150, 250, 250), SIZE).outlines
    made = edits.split(holed, ["left"], [(50.0, 200.0), (350.0, 200.0)])
    assert len(made.outlines) == 3 and area(made) == area(Edited(holed)) and len(made.chosen) == 2
    assert not any(o.geometry.interiors for o in made.outlines)
    # Chosen is another one: what the line lies on is meant.
    assert len(edits.split(BOTH, ["right"], [(50.0, 200.0), (350.0, 200.0)]).outlines) == 3
    with pytest.raises(DataError, match="parts no region"):
        edits.split(holed, [], [(50.0, 120.0), (200.0, 120.0)])


def test_regions_that_touch_are_merged_and_others_refused():
    parted = edits.split((LEFT,), [], [(50.0, 200.0), (350.0, 200.0)])
    made = edits.merge(parted.outlines, parted.chosen)
    assert len(made.outlines) == 1 and made.outlines[0].geometry.equals(LEFT.geometry)
    with pytest.raises(DataError, match="lie apart"):
        edits.merge(BOTH, ["left", "right"])
    with pytest.raises(DataError, match="choose two"):
        edits.merge(BOTH, ["left"])


def test_a_corner_is_moved_removed_or_gone():
    holed = edits.cut(BOTH, ["left"], corners(150, 150, 250, 250), SIZE).outlines
    rings = [shapely.get_coordinates(r)[:-1] for r in shapely.get_rings(holed[0].geometry)]
    number = int(np.flatnonzero((rings[1] == (150, 150)).all(1))[0])
    moved = edits.reshape(holed, ["left"], (1, number), "move", (120.0, 120.0), SIZE)
    assert moved.outlines[0].geometry.area < holed[0].geometry.area and moved.note == ""
    removed = edits.reshape(holed, ["left"], (1, number), "remove", (0.0, 0.0), SIZE)
    assert removed.outlines[0].geometry.area == 40_000 - 5_000
    # Through the other side: mended, and said.
    first = shapely.get_coordinates(LEFT.geometry)[:-1].tolist().index([100, 100])
    crossed = edits.reshape(BOTH, ["left"], (0, first), "move", (200.0, 400.0), SIZE)
    assert "mended" in crossed.note and all(o.geometry.is_valid for o in crossed.outlines)
    for corner in ((2, 0), (1, 99), (-1, 0)):
        with pytest.raises(DataError, match="not there any more"):
            edits.reshape(holed, ["left"], corner, "move", (1.0, 1.0), SIZE)
    line = (Annotation(shapely.Polygon([(0, 0), (10, 0), (0, 10)]), "IDC", id="a"),)
    with pytest.raises(DataError, match="is left of it"):
        edits.reshape(line, ["a"], (0, 0), "remove", (0.0, 0.0), SIZE)


def test_steps_are_undone_and_done_again():
    history = History((Edited(BOTH),))
    history = history.then(edits.delete(BOTH, ["left"])).then(Edited(()))
    assert history.undo().now.outlines == (RIGHT,) and history.undo().undo().undo().now.outlines == BOTH
    assert history.undo().redo().redo().now.outlines == ()
    assert history.undo().then(Edited((LEFT,))).redo().now.outlines == (LEFT,)
    with pytest.raises(DataError, match="choose a region"):
        edits.delete(BOTH, [])


def test_bands_and_other_classes_are_no_outlines_to_edit():
    found = beginning([LEFT, Annotation(LEFT.geometry, "IDC 0.3 to 0.5"), Annotation(RIGHT.geometry, "IDC")])
    assert len(found.outlines) == 2 and found.outlines[1].id
    assert edits.at(found.outlines, (150, 150)) == "left" and edits.at(found.outlines, (450, 150)) is None


points = st.lists(st.tuples(st.floats(-50, 1050), st.floats(-50, 850)), min_size=3, max_size=9)


@given(points, points, st.sampled_from(["draw", "extend", "cut", "split"]))
def test_whatever_is_drawn_outlines_stay_valid_apart_and_in_whole_pixels(first, second, tool):
    outlines = BOTH
    for drawn in (first, second):
        try:
            outlines = {
                "draw": lambda d, o: edits.draw(o, d, SIZE),
                "extend": lambda d, o: edits.extend(o, ["left"], d, SIZE),
                "cut": lambda d, o: edits.cut(o, [], d, SIZE),
                "split": lambda d, o: edits.split(o, [], d),
            }[tool](drawn, outlines).outlines
        except DataError:
            continue
    for one in outlines:
        xy = shapely.get_coordinates(one.geometry)
        assert one.geometry.is_valid and one.geometry.area > 0 and (xy == np.round(xy)).all()
        assert shapely.box(0, 0, *SIZE).covers(one.geometry)
    assert len({o.id for o in outlines}) == len(outlines)
    total = shapely.union_all([o.geometry for o in outlines]).area
    # Parts whose edges were rounded to whole pixels may share slivers along them.
    assert sum(o.geometry.area for o in outlines) - total <= 0.02 * total + 50
