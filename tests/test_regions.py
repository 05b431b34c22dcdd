import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import label

from wsi_idc.grid import Grid
from wsi_idc.regions import find_regions, largest_diameter

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=14))


def grid_over(mask, slide_mpp=(4.0, 4.0)):
    rows, cols = mask.shape
    size = (round(cols * 200 / slide_mpp[0]), round(rows * 200 / slide_mpp[1]))
    return Grid(size, slide_mpp, 50, 4.0)


def outline(mask, **options):
    heatmap = np.where(mask, 0.9, 0.1).astype(np.float32)
    return find_regions(heatmap, grid_over(mask), 0.5, **options)


@settings(max_examples=200, deadline=None)
@given(masks)
def test_regions_cover_exactly_the_positive_patches(mask):
    regions, numbers = outline(mask)
    assert len(regions) == label(mask)[1]
    assert ((numbers > 0) == mask).all()
    for number, region in enumerate(regions, 1):
        assert region.geometry.is_valid
        assert region.patches == (numbers == number).sum()
        assert region.area_mm2 == pytest.approx(region.patches * 0.04)
    for (r, c), number in np.ndenumerate(numbers):
        if number:
            square = shapely.box(c * 50, r * 50, c * 50 + 50, r * 50 + 50)
            assert regions[number - 1].geometry.covers(square)
    assert [r.area_mm2 for r in regions] == sorted((r.area_mm2 for r in regions), reverse=True)


@settings(max_examples=100, deadline=None)
@given(masks, st.floats(0.1, 4.4), st.floats(0.99, 1.01), st.floats(0, 400))
def test_outlines_are_valid_whole_pixels_at_any_scale(mask, mpp, ratio, smooth):
    heatmap = np.where(mask, 0.9, 0.1)
    regions, _ = find_regions(heatmap, grid := grid_over(mask, (mpp, mpp * ratio)), 0.5, smooth_um=smooth)
    assert len(regions) == label(mask)[1], "no region is lost to smoothing or rounding"
    for region in regions:
        assert region.geometry.is_valid
        assert region.geometry.area > 0
        xy = shapely.get_coordinates(region.geometry)
        assert (xy == np.rint(xy)).all()
        assert (xy >= 0).all()
        assert (xy <= np.array(grid.slide_size)).all()
        if smooth == 0:
            assert region.area_mm2 == pytest.approx(region.patches * 0.04, rel=0.02)


def test_ring_with_an_island_measured_by_hand():
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    mask[2:7, 2:7] = False
    mask[4, 4] = True
    (ring, island), numbers = outline(mask)
    assert ring.patches == 24
    assert ring.area_mm2 == pytest.approx(24 * 0.04)
    # The outer square of 7 patches, and the hole of 5: sides of 0.2 mm.
    assert ring.perimeter_mm == pytest.approx(4 * 7 * 0.2 + 4 * 5 * 0.2)
    assert ring.largest_diameter_mm == pytest.approx(np.hypot(1.4, 1.4))
    assert ring.centroid_um == pytest.approx((900.0, 900.0))
    assert len(ring.geometry.interiors) == 1
    assert len(ring.geometry.exterior.coords) == 5, "only the corners are kept"
    assert island.patches == 1
    assert numbers[4, 4] == 2
    assert numbers[1, 1] == 1


def test_probabilities_of_a_region():
    heatmap = np.array([[0.6, 0.7, 0.8, np.nan, 0.9]])
    (first, second), _ = find_regions(heatmap, grid_over(heatmap), 0.6)
    assert (first.mean_probability, first.max_probability) == (pytest.approx(0.7), pytest.approx(0.8))
    assert first.p95_probability == pytest.approx(0.79), "95 % of the way through 0.6, 0.7, 0.8"
    assert second.patches == 1


def test_the_threshold_itself_is_positive_and_nan_is_not():
    regions, _ = find_regions(np.array([[0.5, np.nan, 0.49999]]), Grid((150, 50), (4.0, 4.0), 50, 4.0), 0.5)
    assert [r.patches for r in regions] == [1]


def test_small_regions_are_left_out_of_both_results():
    mask = np.zeros((4, 6), bool)
    mask[0:2, 0:2] = mask[3, 5] = True
    regions, numbers = outline(mask, min_area_mm2=0.05)
    assert [r.patches for r in regions] == [4]
    assert numbers.max() == 1
    assert numbers[3, 5] == 0


@settings(max_examples=60, deadline=None)
@given(masks, st.floats(1, 300))
def test_smoothing_stays_within_its_tolerance(mask, smooth):
    sharp, _ = outline(mask)
    smooth_regions, _ = outline(mask, smooth_um=smooth)
    by_patches = {(r.patches, r.mean_probability): r for r in sharp}
    if len(sharp) == 1:
        old, new = by_patches.popitem()[1].geometry.boundary, smooth_regions[0].geometry.boundary
        # In level-0 pixels of 4 um; rounding adds at most a diagonal of half a pixel.
        assert new.hausdorff_distance(old) <= 300 * np.sqrt(2) / 4 + 1
        far = max(shapely.distance(shapely.points(shapely.get_coordinates(old)), new))
        assert far <= smooth / 4 + 0.71


def test_last_patches_are_clipped_to_the_slide():
    grid = Grid((120, 70), (4.0, 4.0), 50, 4.0)
    (region,), _ = find_regions(np.full((2, 3), 0.9), grid, 0.5)
    assert region.geometry.bounds == (0, 0, 120, 70)


def test_ids_depend_on_outline_and_key_only():
    mask = np.eye(3, dtype=bool)
    first, again, other = (outline(mask, key=k)[0] for k in ("a", "a", "b"))
    assert [r.id for r in first] == [r.id for r in again]
    assert len({r.id for r in first + other}) == 6


def test_largest_diameter_of_a_triangle():
    assert largest_diameter(shapely.Polygon([(0, 0), (3, 0), (0, 4)])) == 5
