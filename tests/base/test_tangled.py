"""Outlines that cross themselves often: the same area as GEOS finds slowly, and none that never ends."""

import numpy as np
import pytest
import shapely
from shapely import Polygon

from wsi_idc.base import tangled
from wsi_idc.base.tangled import valid_area


def crossed(times):
    """A band of 20 by 20 `times`, whose edges cross once in each: of each square two triangles remain, 200 of 400."""
    x = np.arange(times + 1) * 20.0
    top = np.where(np.arange(times + 1) % 2 == 0, 0.0, 20.0)
    return Polygon([*zip(x, top, strict=True), *zip(x[::-1], (20 - top)[::-1], strict=True)])


def star(corners, seed=0):
    return Polygon(np.random.default_rng(seed).uniform(0, 1000, (corners, 2)))


@pytest.mark.parametrize("times", [1, 150, 400])
def test_the_area_of_a_band_that_crosses_itself(times):
    area = valid_area(crossed(times))
    assert area.is_valid
    assert area.area == pytest.approx(200 * times)


@pytest.mark.parametrize("seed", range(3))
def test_many_crossings_give_the_area_that_geos_gives(seed):
    polygon = Polygon(star(50, seed).exterior, [star(12, seed + 50).exterior])
    expected = shapely.make_valid(polygon, method="linework")
    found = valid_area(polygon)
    assert tangled._crossings([np.asarray(polygon.exterior.coords)]) > tangled._FEW
    assert found.symmetric_difference(expected).area < 1e-6 * expected.area


def test_crossings_are_counted_once():
    assert tangled._crossings([np.asarray(crossed(7).exterior.coords)]) == 7
    # A pentagram crosses itself five times; at corners segments meet their neighbours, which are no crossings.
    angle = np.arange(6) * 4 * np.pi / 5
    assert tangled._crossings([np.column_stack([np.sin(angle), np.cos(angle)]).round(9)]) == 5


def test_what_would_never_end_is_refused():
    with pytest.raises(ValueError, match="more than 20,000 times"):
        valid_area(star(2000))
    with pytest.raises(ValueError, match="300,000 corners"):
        valid_area(star(300_000))
    with pytest.raises(ValueError, match="300,001 corners that crosses itself everywhere"):
        tangled.check_tangle(star(300_001))
    angle = 2 * np.pi * np.arange(300_000) / 300_000
    tangled.check_tangle(Polygon(1e4 * np.column_stack([np.cos(angle), np.sin(angle)])))


# What lies within an odd number of rings, in squares of a drawing on paper.
@pytest.mark.parametrize(
    ("holes", "area"),
    [
        ([(2, 2, 10, 7)], 60),  # touches the right edge
        ([(5, 0, 11, 10)], 60),  # the right half, and 1 beyond
        ([(8, 8, 12, 12)], 108),  # over a corner
        ([(0, 0, 10, 10)], 0),  # all of it
        ([(2, 2, 8, 8), (3, 3, 5, 5)], 68),  # one within another
        ([(12, 0, 14, 2)], 104),  # beside it
    ],
)
def test_holes_that_do_not_lie_within(holes, area):
    rings = [shapely.box(*hole).exterior for hole in holes]
    found = valid_area(Polygon(shapely.box(0, 0, 10, 10).exterior, rings))
    assert found.is_valid and found.area == pytest.approx(area)
