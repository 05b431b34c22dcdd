import numpy as np
import pytest
import shapely
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from wsi_idc.base.grid import Grid
from wsi_idc.regions.delineate import fine_tissue, without_patches
from wsi_idc.regions.interpolate import fine_grid, make_field, per_side
from wsi_idc.regions.outlining import Outlining
from wsi_idc.regions.regions import find_bands, find_regions, largest_diameter, measure_slide

heatmaps = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=10), elements=st.floats(0, 1, width=32))
# Two regions of the same area.
TWINS = np.zeros((4, 5), np.float32)
TWINS[1, 3] = TWINS[2, 1] = 1


def grid_over(heatmap, slide_mpp=(4.0, 4.0)):
    rows, cols = heatmap.shape
    size = (round(cols * 200 / slide_mpp[0]), round(rows * 200 / slide_mpp[1]))
    return Grid(size, slide_mpp, 50, 4.0)


def field_of(heatmap, grid=None):
    grid = grid or grid_over(heatmap)
    return make_field(np.asarray(heatmap, np.float32), grid, np.ones(fine_grid(grid).shape, bool))


def outline(heatmap, threshold=0.5, **options):
    key = options.pop("key", "")
    heatmap = np.asarray(heatmap, np.float32)
    outlining = Outlining(threshold, **options)
    regions, _, numbers = find_regions(field_of(heatmap), outlining, per_side(grid_over(heatmap)), key)
    return regions, numbers


@given(heatmaps, st.floats(0.05, 0.95), st.sampled_from([1, 5, 16]))
def test_outlines_traced_by_boxes_are_those_of_the_whole_slide(heatmap, threshold, tile):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsi_idc.regions.regions._TILE", 10_000)
        whole, whole_bands = outline(heatmap, threshold)[0], find_bands(field_of(heatmap), [threshold], 0.0)
        patch.setattr("wsi_idc.regions.regions._TILE", tile)
        boxed, boxed_bands = outline(heatmap, threshold)[0], find_bands(field_of(heatmap), [threshold], 0.0)
    assert boxed == whole
    assert boxed_bands == whole_bands


def shapes_by_hand(kind, radius, x, y):
    centre = shapely.Point(x, y)
    disc = centre.buffer(radius, 128)
    if kind == "disc":
        return disc
    ring = disc.difference(centre.buffer(0.6 * radius, 128))
    return ring if kind == "ring" else ring.union(centre.buffer(0.3 * radius, 128))


@settings(max_examples=50)
@given(
    st.sampled_from(["disc", "ring", "island"]),
    st.floats(10, 14),
    st.floats(15, 17),
    st.floats(15, 17),
)
def test_painted_shapes_keep_their_area_and_topology(kind, radius, x, y):
    """Shapes of at least 20 patches across; the probability of a patch is the share of it that lies inside."""
    shape = shapes_by_hand(kind, radius, x, y)
    rows, cols = np.indices((32, 32))
    squares = shapely.box(cols, rows, cols + 1, rows + 1)
    shares = shapely.area(shapely.intersection(squares, shape))
    regions, _ = outline(shares)
    assert sum(r.area_mm2 for r in regions) == pytest.approx(shape.area * 0.04, rel=0.02)
    assert len(regions) == (2 if kind == "island" else 1)
    holes = [len(p.interiors) for r in regions for p in shapely.get_parts(r.geometry)]
    assert holes == {"disc": [0], "ring": [1], "island": [1, 0]}[kind]


@settings(max_examples=150)
@given(heatmaps, st.floats(0.1, 0.9), st.floats(0.1, 4.4), st.floats(0.99, 1.01), st.floats(0, 200))
@example(TWINS, 0.5, 1.0, 0.99, 0.0)
def test_outlines_are_valid_whole_pixels_at_any_scale(heatmap, threshold, mpp, ratio, smooth):
    grid = grid_over(heatmap, (mpp, mpp * ratio))
    field = field_of(heatmap, grid)
    regions, _, numbers = find_regions(field, Outlining(threshold, smooth_um=smooth), per_side(grid))
    assert numbers.max(initial=0) == len(regions)
    assert ((numbers > 0) <= (field.values >= threshold)).all()
    for number, region in enumerate(regions, 1):
        assert region.geometry.is_valid and region.geometry.area > 0
        xy = shapely.get_coordinates(region.geometry)
        assert (xy == np.rint(xy)).all()
        assert (xy >= 0).all() and (xy <= np.array(grid.slide_size)).all()
        values = field.values[numbers == number]
        assert region.max_probability == pytest.approx(values.max()) and values.max() >= threshold
        assert region.mean_probability == pytest.approx(values.mean(dtype=np.float64))
    assert [r.area_mm2 for r in regions] == sorted((r.area_mm2 for r in regions), reverse=True)


@settings(max_examples=80)
@given(heatmaps, st.floats(0.2, 0.8), st.floats(0, 100))
def test_every_patch_above_the_threshold_is_in_a_region(heatmap, threshold, smooth):
    """No region is lost to simplification: the centre of each is inside, or outside by less than the tolerance."""
    assume((np.abs(heatmap - threshold) > 0.02).all())
    regions, _ = outline(heatmap, threshold, smooth_um=smooth)
    rows, cols = np.nonzero(heatmap >= threshold)
    centres = shapely.points(cols * 50 + 25, rows * 50 + 25)
    area = shapely.union_all([r.geometry for r in regions]) if regions else shapely.Polygon()
    assert (shapely.distance(centres, area) <= smooth / 4 + 1).all()
    outside = shapely.points(*(v * 50 + 25 for v in np.nonzero(heatmap < threshold)[::-1]))
    assert (shapely.distance(outside, shapely.boundary(area))[shapely.contains(area, outside)] <= smooth / 4 + 1).all()


def test_a_square_measured_by_hand():
    """7 x 5 patches of 1 in zeros at the threshold 0.5: sides half-way between centres, corners cut by the bilinear."""
    heatmap = np.zeros((11, 13))
    heatmap[3:8, 3:10] = 1
    (region,), numbers = outline(heatmap, smooth_um=0)
    left, top, right, bottom = region.geometry.bounds
    assert (left, top, right, bottom) == (150, 150, 500, 400)
    # At the corners the outline runs where the product of the distances to two centres is 1/2.
    assert region.area_mm2 == pytest.approx(35 * 0.04, rel=0.02)
    assert region.area_mm2 < 35 * 0.04
    assert region.patches == 35
    assert region.centroid_um == pytest.approx((1300.0, 1100.0), abs=2)
    # On the diagonal of a corner that is 1 - sqrt(1/2) of a patch beyond the last centre.
    beyond = 2 * (1 - np.sqrt(0.5))
    assert region.largest_diameter_mm == pytest.approx(0.2 * np.hypot(6 + beyond, 4 + beyond), rel=0.02)
    assert region.max_probability == 1 and region.uncertain_share < 0.15
    assert region.nearest_mm is None and not region.touches_slide_edge and not region.touches_tissue_edge
    assert numbers[45, 45] == 1 and numbers[0, 0] == 0


def test_the_gap_between_two_regions():
    heatmap = np.zeros((5, 12))
    heatmap[1:4, 1:4] = heatmap[1:4, 7:10] = 1
    regions, _ = outline(heatmap)
    assert [r.nearest_mm for r in regions] == pytest.approx([0.6, 0.6], abs=0.01)


def test_edges_of_the_slide_and_of_tissue():
    heatmap = np.zeros((6, 12), np.float32)
    heatmap[2:4, 0:3] = heatmap[2:4, 6:9] = 0.9
    grid = grid_over(heatmap)
    tissue = np.ones(fine_grid(grid).shape, bool)
    tissue[:, 8 * 9 :] = False  # glass from the ninth patch on
    regions, *_ = find_regions(make_field(heatmap, grid, tissue), Outlining(0.5), per_side(grid))
    by_place = sorted(regions, key=lambda r: r.centroid_um)
    assert [r.touches_slide_edge for r in by_place] == [True, False]
    assert [r.touches_tissue_edge for r in by_place] == [False, True]
    assert by_place[1].geometry.bounds[2] <= 400 + 4


def test_where_nothing_could_be_read_nothing_is_outlined():
    heatmap = np.full((4, 4), 0.9, np.float32)
    heatmap[1, 2] = np.nan
    grid = grid_over(heatmap)
    tissue = without_patches(fine_tissue(np.ones((100, 100), bool), 8.0, grid), grid, np.isnan(heatmap))
    (region,), *_ = find_regions(make_field(heatmap, grid, tissue), Outlining(0.5), per_side(grid))
    assert not region.geometry.contains(shapely.Point(125, 75))
    assert len(region.geometry.interiors) == 1


def test_the_rim_of_tissue_goes_with_the_nearest_patch():
    heatmap = np.array([[0.9, 0.9, np.nan]], np.float32)
    grid = grid_over(heatmap)
    tissue = np.ones(fine_grid(grid).shape, bool)
    tissue[:, 22:] = False
    (region,), *_ = find_regions(make_field(heatmap, grid, tissue), Outlining(0.5), per_side(grid))
    assert region.geometry.bounds[2] == pytest.approx(22 * 50 / 9, abs=4)
    assert region.patches == 2


def test_hysteresis_follows_a_region_down_but_begins_none():
    heatmap = [[0.9, 0.45, 0.45, 0.0, 0.0, 0.45, 0.45]]
    assert [r.patches for r in outline(heatmap, 0.6)[0]] == [1]
    assert [r.patches for r in outline(heatmap, 0.6, low=0.4)[0]] == [3]


def test_small_holes_are_filled_with_what_is_in_them_and_small_regions_left_out():
    heatmap = np.zeros((12, 16))
    heatmap[1:10, 1:10] = 0.9
    heatmap[3:8, 3:8] = 0.1
    heatmap[5, 5] = 0.9  # an island in the hole of 5 x 5 patches, 1 mm2
    heatmap[5, 14] = 0.9
    kinds = lambda **options: [len(r.geometry.interiors) for r in outline(heatmap, **options)[0]]  # noqa: E731
    assert kinds() == [1, 0, 0]
    assert kinds(min_hole_mm2=0.8) == [1, 0, 0]
    assert kinds(min_hole_mm2=1.2) == [0, 0], "the island is part of the region now"
    assert kinds(min_area_mm2=0.1) == [1]
    numbers = outline(heatmap, min_area_mm2=0.1)[1]
    assert numbers.max() == 1 and numbers[5 * 9 + 4, 14 * 9 + 4] == 0


def test_slivers_are_no_foci_and_kept_apart():
    """A patch alone, of 0.04 mm2, is cut by the slope to its neighbours; gaps are between foci only."""
    heatmap = np.zeros((12, 16))
    heatmap[1:4, 1:4] = heatmap[1:4, 12:15] = 0.9
    heatmap[2, 8] = 0.9
    grid = grid_over(heatmap)
    split = lambda area: find_regions(field_of(heatmap), Outlining(0.5, min_area_mm2=area), per_side(grid))  # noqa: E731
    regions, slivers, numbers = split(0.04)
    assert ([r.patches for r in regions], [r.patches for r in slivers]) == ([9, 9], [1])
    assert 0 < slivers[0].area_mm2 < 0.04 and slivers[0].nearest_mm is None
    assert numbers.max() == 2 and numbers[2 * 9 + 4, 8 * 9 + 4] == 0
    assert regions[0].nearest_mm > 1.5
    measured = measure_slide(regions, slivers, 10.0, heatmap.size)
    assert (measured["foci"], measured["slivers"]) == (2, 1)
    assert measured["idc_mm2"] == pytest.approx(sum(r.area_mm2 for r in regions), abs=1e-4)
    assert measured["slivers_mm2"] == pytest.approx(slivers[0].area_mm2, abs=1e-4)
    for area in (None, 0.0, slivers[0].area_mm2):
        regions, slivers, _ = split(area)
        assert (len(regions), slivers) == (3, []) and regions[0].nearest_mm < 1


@settings(max_examples=60)
@given(heatmaps, st.floats(1, 100))
def test_smoothing_stays_within_its_tolerance(heatmap, smooth):
    sharp, _ = outline(heatmap, smooth_um=0)
    smoothed, _ = outline(heatmap, smooth_um=smooth)
    if len(sharp) == len(smoothed) == 1 and sharp[0].geometry.geom_type == smoothed[0].geometry.geom_type:
        old, new = sharp[0].geometry.boundary, smoothed[0].geometry.boundary
        far = max(shapely.distance(shapely.points(shapely.get_coordinates(old)), new))
        # In level-0 pixels of 4 um. Both were rounded; and GEOS may move where a ring begins, by half as much again.
        assert far <= 1.5 * smooth / 4 + 2 * 0.71


@settings(max_examples=60)
@given(heatmaps)
def test_bands_share_out_what_is_above_the_lowest(heatmap):
    field = field_of(heatmap)
    bands = find_bands(field, (0.3, 0.5, 0.7), 0)
    regions, *_ = find_regions(field, Outlining(0.3, smooth_um=0))
    assert all(b.geometry.is_valid and b.area_mm2 > 0 for b in bands)
    total = sum(r.area_mm2 for r in regions)
    # Each border between two bands is rounded to whole pixels on both sides.
    borders = sum(b.geometry.length for b in bands) * 16e-6
    assert sum(b.area_mm2 for b in bands) == pytest.approx(total, abs=borders + 1e-9)
    assert [b.low for b in bands] == sorted(b.low for b in bands)


def test_ids_depend_on_outline_and_key_only():
    heatmap = np.kron(np.eye(3), [[1, 0], [0, 0]])
    first, again, other = (outline(heatmap, key=k)[0] for k in ("a", "a", "b"))
    assert len(first) == 3
    assert [r.id for r in first] == [r.id for r in again]
    assert len({r.id for r in first + other}) == 6


def test_the_last_patches_are_clipped_to_the_slide():
    grid = Grid((120, 70), (4.0, 4.0), 50, 4.0)
    (region,), *_ = find_regions(field_of(np.full((2, 3), 0.9), grid), Outlining(0.5), per_side(grid))
    assert region.geometry.bounds == (0, 0, 120, 70)


def test_nothing_computed_is_nothing_found():
    regions, numbers = outline(np.full((3, 4), np.nan))
    assert regions == [] and numbers.shape == (27, 36) and not numbers.any()


def test_largest_diameter_of_a_triangle():
    assert largest_diameter(shapely.Polygon([(0, 0), (3, 0), (0, 4)])) == 5
