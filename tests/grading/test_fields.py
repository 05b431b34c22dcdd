from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from shapely import MultiPolygon, Polygon
from skimage.color import rgb2hed, rgb_from_hed

from wsi_idc.base.grid import Grid
from wsi_idc.demo.painter import CLASSES
from wsi_idc.errors import SlideError
from wsi_idc.grading.fields import (
    MIN_TUMOUR,
    WEIGHTS,
    Segmentation,
    Wish,
    _share_within,
    choose,
    find_fields,
    invasive_edge,
)
from wsi_idc.grading.nuclei import haematoxylin
from wsi_idc.regions.interpolate import fine_grid, per_side
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.write import write_slide

TUMOUR = CLASSES.index("tumour")


def segmentation(heatmap, mpp=(4.0, 4.0), size=None):
    """Patches of 200 um, of which those of 0.5 and more are IDC, as a whole; all tissue but for those that are NaN."""
    rows, cols = heatmap.shape
    size = size or (round(cols * 200 / mpp[0]), round(rows * 200 / mpp[1]))
    grid = Grid(size, mpp, 50, 4.0)
    tissue = np.isfinite(heatmap).repeat(per_side(grid), 0).repeat(per_side(grid), 1)
    tops, lefts = np.nonzero(heatmap >= 0.5)
    squares = shapely.union_all(shapely.box(lefts, tops, lefts + 1, tops + 1))
    outlines = shapely.set_precision(shapely.transform(squares, grid.to_level0), 1.0)
    parts = [p for p in shapely.get_parts(outlines) if isinstance(p, Polygon)]
    idc = MultiPolygon(parts) & shapely.box(0, 0, *size)
    return Segmentation(heatmap, grid, tissue[: fine_grid(grid).shape[0], : fine_grid(grid).shape[1]], idc)


class Noise:
    """A slide of noise, which depends on the place only, that remembers what was read of it."""

    def __init__(self, found):
        self.size, self.mpp = found.grid.slide_size, SimpleNamespace(x=found.grid.slide_mpp[0])
        self.reads, self.largest = [], 0

    def read(self, x, y, width, height, mpp):
        self.largest = max(self.largest, width, height)
        self.reads.append((x, y, width * mpp / self.mpp.x, height * mpp / self.mpp.x))
        rng = np.random.default_rng(int(x) * 7919 + int(y))
        return rng.integers(0, 256, (height, width, 3), np.uint8)


def boxes(fields):
    return [shapely.box(f.x, f.y, f.x + f.width, f.y + f.height) for f in fields]


def stained(haem, eosin=0.1):
    """RGB of optical densities of haematoxylin, (h, w), on a little eosin."""
    density = haem[..., None] * rgb_from_hed[0] + eosin * rgb_from_hed[1]
    return np.rint(255 * 10.0**-density).astype(np.uint8)


def test_haematoxylin_is_that_of_scikit_image():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    pixels[0] = 0
    # Which counts in units of a density of 6.
    np.testing.assert_allclose(haematoxylin(pixels), 6 * rgb2hed(pixels)[..., 0], atol=1e-4)


def test_haematoxylin_gives_back_the_stain():
    amount = np.linspace(0, 1, 50).reshape(5, 10)
    np.testing.assert_allclose(haematoxylin(stained(amount)), amount, atol=0.03)


def test_of_two_squares_the_one_with_twice_the_nuclei_wins(tmp_path):
    # 4 x 2 mm at 2 um; in each 10 x 10 pixels of a square one row is dark, or two.
    haem = np.full((1000, 2000), 0.05)
    for left, rows in ((100, 1), (1200, 2)):
        for row in range(rows):
            haem[200 + row : 800 : 10, left : left + 600] = 0.8
    heatmap = np.full((10, 20), 0.1)
    heatmap[2:8, 1:7] = heatmap[2:8, 12:18] = 0.9
    # A field of 0.16 mm2 is 200 pixels wide, so that its cells are 50 of the slide's own pixels.
    with Slide(write_slide(tmp_path / "squares.tif", stained(haem), 2.0, compression="deflate")) as slide:
        found = find_fields(slide, segmentation(heatmap, (2.0, 2.0)), Wish(number=100, area_mm2=0.16))
    first, whole = found.fields[0], [f for f in found.fields if f.tumour_share == 1]
    assert first.x >= 1200
    assert (first.width, first.height, first.area_mm2) == (200, 200, pytest.approx(0.16))
    assert first.nuclei == 1
    assert {f.nuclear_share for f in whole if f.x >= 1200} == {0.2}
    assert {f.nuclear_share for f in whole if f.x < 1000} == {0.1}
    assert {f.nuclei for f in whole if f.x < 1000} == {0.5}
    assert 0 < found.nuclear_density < 0.8


def test_painted_tumour_ranks_above_painted_stroma(section, painted):
    # All tissue is called IDC alike, so that only what the pixels show can tell fields apart.
    grid = segmentation(np.ones((12, 15))).grid
    tissue = grid.share(section.labels > 0, section.mpp) > 0.5
    found = segmentation(np.where(tissue, np.float32(0.9), np.float32(np.nan)))
    with Slide(painted) as slide:
        fields = find_fields(slide, found, Wish(number=100, area_mm2=0.05, edge_um=1)).fields
    tumour = [(section.labels[f.y : f.y + f.height, f.x : f.x + f.width] == TUMOUR).mean() for f in fields]
    inside = [rank for rank, share in enumerate(tumour) if share > 0.9]
    outside = [rank for rank, share in enumerate(tumour) if share < 0.1]
    assert inside
    assert outside
    assert max(inside) < np.median(outside)
    assert np.mean(inside) < np.mean(outside)


def test_score_by_hand():
    """In the middle of IDC, beyond the reach of the edge: no edge, and the probability for the tumour."""
    heatmap = np.full((20, 20), 0.1)
    heatmap[4:16, 4:16] = 0.8
    found = segmentation(heatmap)
    fields = find_fields(Noise(found), found, Wish(number=100, edge_um=400)).fields
    assert len(fields) >= 9, "20 x 20 candidates, of which each field takes at most 7 x 7"
    middle = [f for f in fields if f.edge == 0]
    assert middle
    for f in middle:
        assert (f.tumour, f.tumour_share) == (pytest.approx(0.8), 1)
        assert f.score == pytest.approx(0.4 * 0.8 + 0.4 * f.nuclei, abs=2e-6)


def test_tumour_and_edge_by_hand():
    """Over a strip of IDC half as wide as a field: half a field is tumour, and where it lies decides the edge."""
    heatmap = np.full((20, 20), 0.1)
    heatmap[:, 10] = 0.6
    found = segmentation(heatmap)
    # 100 pixels wide, in cells of 25; the strip is 500 to 550, and the edge, 50 wide, reaches from 475 to 575.
    fields = find_fields(Noise(found), found, Wish(number=100, area_mm2=0.16, edge_um=200)).fields
    assert {(f.tumour_share, f.tumour) for f in fields} == {(0.5, 0.3)}
    assert fields[0].x == 475
    assert fields[0].edge == 1
    beside = [f.edge for f in fields if f.x in (450, 500) and 100 <= f.y <= 800]
    assert all(edge == 0.75 for edge in beside)


@settings(max_examples=40)
@given(
    arrays(
        np.float32, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=14), elements=st.floats(0, 1, width=32)
    ),
    st.sampled_from([(4.0, 4.0), (2.277, 2.277), (3.0, 3.05)]),
    st.sampled_from([0.05, 0.1, 0.237]),
    st.integers(1, 30),
)
def test_fields_lie_apart_within_the_slide_and_in_tumour(heatmap, mpp, area, number):
    found = segmentation(heatmap, mpp)
    chosen = find_fields(Noise(found), found, Wish(number, area))
    fields = chosen.fields
    assert len(fields) <= min(number, chosen.candidates)
    squares, slide = boxes(fields), shapely.box(0, 0, *found.grid.slide_size)
    for n, (field, square) in enumerate(zip(fields, squares, strict=True)):
        assert slide.covers(square)
        assert field.area_mm2 == pytest.approx(area, rel=0.05), "to whole pixels of 4 um"
        assert all(square.intersection(other).area == 0 for other in squares[:n])
        # The cells of a field begin up to a pixel beside it, and outlines are whole pixels.
        assert found.idc.intersection(square).area / square.area >= MIN_TUMOUR - 0.06
        assert chosen.edge.intersection(square).area / square.area == pytest.approx(field.edge, abs=0.06)
        parts = {name: getattr(field, name) for name in WEIGHTS}
        assert all(0 <= part <= 1 for part in parts.values())
        assert field.score == pytest.approx(sum(WEIGHTS[name] * part for name, part in parts.items()), abs=2e-6)
    assert [f.score for f in fields] == sorted((f.score for f in fields), reverse=True)
    assert find_fields(Noise(found), found, Wish(number, area)) == chosen


@settings(max_examples=100)
@given(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.sampled_from([np.nan, 0.1, 0.2])),
    st.integers(1, 20),
)
def test_choose_is_greedy_and_leaves_no_room(score, number):
    taken = choose(score, number)
    rows, cols = np.indices(score.shape)
    free = np.isfinite(score)
    for row, col in taken:
        best = np.argwhere(free & (score == score[free].max()))[0]
        assert (row, col) == tuple(best), "the best, of equal ones the upper, then the left one"
        free &= (abs(rows - row) >= 4) | (abs(cols - col) >= 4)
    assert len(taken) == number or not free.any()


@settings(max_examples=60)
@given(arrays(np.bool_, (8, 8)), st.sampled_from([0.0, 7.3]), st.booleans())
def test_share_of_an_area_is_exact(mask, blur, aligned):
    """Whether its borders lie along those of the cells, across them, or are round."""
    grid = Grid((400, 400), (4.0, 4.0), 50, 4.0)
    found = segmentation(np.where(mask, 0.9, 0.1), size=grid.slide_size)
    area = MultiPolygon([p for p in shapely.get_parts(found.idc.buffer(blur)) if not p.is_empty])
    cells = Grid((400, 400), (4.0, 4.0), 25 if aligned else 23, 4.0)
    rows, cols = np.indices(cells.shape)
    side = cells.patch_size
    boxes = shapely.box(cols * side, rows * side, cols * side + side, rows * side + side)
    expected = shapely.area(shapely.intersection(boxes, area)) / side**2
    np.testing.assert_allclose(_share_within(area, cells), expected, atol=1e-6)


def test_no_idc_no_fields_and_nothing_read():
    found = segmentation(np.full((10, 10), 0.2))
    slide = Noise(found)
    chosen = find_fields(slide, found, Wish())
    assert (chosen.fields, chosen.candidates, chosen.nuclear_density) == ([], 0, None)
    assert chosen.edge.is_empty
    assert slide.reads == []


class Damaged(Noise):
    """Noise of which a square of one pixel, at a place in level-0 pixels, cannot be decoded."""

    path = "damaged.tif"

    def __init__(self, found, place):
        super().__init__(found)
        self.place = place

    def read(self, x, y, width, height, mpp):
        across, down = (size * mpp / self.mpp.x for size in (width, height))
        if x <= self.place[0] < x + across and y <= self.place[1] < y + down:
            raise SlideError("cannot be decoded")
        return super().read(x, y, width, height, mpp)


def test_fields_that_cannot_be_decoded_are_left_out_and_counted():
    """Once one broken tile cost all fields of a slide."""
    heatmap = np.full((30, 30), 0.1)
    heatmap[5:25, 5:25] = 0.9
    found = segmentation(heatmap)
    whole = find_fields(Noise(found), found, Wish())
    place = whole.fields[0].x + 40, whole.fields[0].y + 40
    chosen = find_fields(Damaged(found, place), found, Wish())
    covering = [box for box in boxes(chosen.fields) if box.intersects(shapely.Point(*place))]
    assert len(chosen.fields) == 10 and covering == []
    # A cell is in 4 x 4 fields.
    assert (chosen.lost, chosen.candidates) == (16, whole.candidates - 16)


def test_a_slide_of_which_nothing_can_be_decoded_is_an_error():
    class Broken(Noise):
        path = "broken.tif"

        def read(self, *place):
            raise SlideError("cannot be decoded")

    found = segmentation(np.full((10, 10), 0.9))
    with pytest.raises(SlideError, match=r"broken\.tif: none of its IDC can be decoded for fields; is the file whole"):
        find_fields(Broken(found), found, Wish())


def test_a_slide_smaller_than_a_field_has_none():
    found = segmentation(np.full((2, 2), 0.9))
    assert find_fields(Noise(found), found, Wish()).fields == []


def test_reads_in_blocks_and_near_idc_only():
    heatmap = np.full((100, 100), 0.1)
    heatmap[40:60, 40:60] = 0.9
    found = segmentation(heatmap)
    slide = Noise(found)
    find_fields(slide, found, Wish())
    near = shapely.box(2000, 2000, 3000, 3000).buffer(1024, join_style="mitre")
    assert slide.reads
    for x, y, width, height in slide.reads:
        assert near.covers(shapely.box(x, y, x + width, y + height))
    assert slide.largest <= 1024


def test_edge_is_a_band_along_the_border():
    heatmap = np.full((30, 30), 0.1)
    heatmap[10:20, 10:20] = 0.9
    edge = invasive_edge(segmentation(heatmap), 400)
    # 200 um to both sides of 2 mm squares, its outer corners rounded, in pixels of 4 um.
    expected = (2000**2 + 4 * 2000 * 200 + np.pi * 200**2 - 1600**2) / 16
    assert edge.area == pytest.approx(expected, rel=0.01)
    assert edge.is_valid
    assert not edge.contains(shapely.Point(750, 750))
    xy = shapely.get_coordinates(edge)
    assert (xy == np.rint(xy)).all()


def test_glass_and_holes_are_no_invasive_edge():
    heatmap = np.full((30, 30), 0.1)
    heatmap[10:20, 10:20] = 0.9
    heatmap[14:16, 14:16] = 0.1
    heatmap[:, :10] = np.nan
    heatmap[25, 25] = np.nan
    edge = invasive_edge(segmentation(heatmap), 400)
    assert not edge.intersects(shapely.Point(750, 750).buffer(150)), "the hole"
    assert not edge.intersects(shapely.box(0, 0, 499, 1500)), "the band does not reach onto glass"
    assert not edge.intersects(shapely.box(500, 650, 600, 850)), "along glass"
    assert edge.contains(shapely.Point(1000, 750)), "the side towards tissue"
    heatmap[:, 20:] = heatmap[:10] = heatmap[20:] = np.nan
    assert invasive_edge(segmentation(heatmap), 400).is_empty, "IDC that fills its tissue"
