import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.comparison.agreement import PROBABILITY, STEP_UM, agreement_areas, compare_regions, pooled

from helpers import box

UM = (1.0, 1.0)
# Side of a cell of the random masks, in pixels of 1 um.
CELL = 20
masks = arrays(np.bool_, (6, 6))


def cells(mask):
    return [box(c * CELL, r * CELL, c * CELL + CELL, r * CELL + CELL) for r, c in np.argwhere(mask)]


def numbers(found, truth, mpp=UM, roi=None):
    return compare_regions(found, truth, mpp, roi).numbers()


def test_squares_that_overlap_by_half():
    found = numbers([box(0, 0, 100, 100)], [box(50, 0, 150, 100)])
    assert found["both_mm2"] == pytest.approx(0.005)
    assert found["dice"] == pytest.approx(1 / 2)
    assert found["iou"] == pytest.approx(1 / 3)
    assert found["sensitivity"] == found["ppv"] == pytest.approx(1 / 2)
    assert found["area_error_mm2"] == pytest.approx(0)
    assert found["hausdorff_um"] == found["p95_um"] == pytest.approx(50)
    # By side: 50 on 100 um; from 50 down to 0 on half of two; min(y, 100 - y), at most 50, on the fourth.
    assert found["mean_um"] == pytest.approx((100 * 50 + 2 * 1250 + 2500) / 400)


def test_a_square_shifted_by_10_um():
    found = numbers([box(0, 0, 100, 100)], [box(10, 0, 110, 100)])
    assert found["dice"] == pytest.approx(0.9)
    assert found["hausdorff_um"] == found["p95_um"] == pytest.approx(10)
    assert found["mean_um"] == found["mean_to_truth_um"] == pytest.approx((1000 + 2 * 50 + 900) / 400)


def test_a_square_grown_by_10_um():
    found = numbers([box(0, 0, 100, 100)], [box(-10, -10, 110, 110)])
    assert found["mean_to_truth_um"] == pytest.approx(10)
    assert found["hausdorff_um"] == pytest.approx(10 * np.sqrt(2)), "at the corners"
    # 5 % of 480 um are 3 um at each of the eight ends of the outer sides.
    assert found["p95_um"] == pytest.approx(np.hypot(10, 7), abs=STEP_UM / 2)
    assert found["area_error_mm2"] == pytest.approx((100**2 - 120**2) / 1e6)


def test_pixels_that_are_not_square():
    found = numbers([box(0, 0, 100, 100)], [box(0, 50, 100, 150)], mpp=(0.25, 2.0))
    assert found["found_mm2"] == pytest.approx(25 * 200 / 1e6)
    assert found["dice"] == pytest.approx(0.5)
    assert found["hausdorff_um"] == pytest.approx(100)


def test_disjoint():
    found = numbers([box(0, 0, 100, 100)], [box(200, 0, 300, 100)])
    assert [found[n] for n in ("dice", "iou", "sensitivity", "ppv")] == [0, 0, 0, 0]
    assert found["hausdorff_um"] == pytest.approx(200)
    assert (found["foci"], found["foci_found"], found["false_regions"]) == (1, 0, 1)


def test_empty_sides():
    square, distances = [box(0, 0, 100, 100)], ("hausdorff_um", "p95_um", "mean_um", "mean_to_truth_um")
    neither, missed, invented = numbers([], []), numbers([], square), numbers(square, [])
    assert neither["dice"] == neither["iou"] == 1
    assert missed["dice"] == missed["iou"] == missed["sensitivity"] == 0
    assert invented["dice"] == invented["iou"] == invented["ppv"] == 0
    for one in (neither, missed, invented):
        assert np.isnan([one[n] for n in distances]).all(), "not 0"
    assert np.isnan([neither["sensitivity"], neither["ppv"], missed["ppv"], invented["sensitivity"]]).all()
    assert invented["false_regions"] == missed["foci"] == 1


def test_only_what_lies_in_the_roi_counts():
    found, truth = [box(0, 0, 100, 100)], [box(0, 0, 100, 300), box(1000, 0, 1100, 100)]
    whole = numbers(found, truth)
    assert whole["dice"] == pytest.approx(2 * 10 / (10 + 40))
    within = numbers(found, truth, roi=shapely.box(-50, -50, 150, 100))
    assert within["dice"] == within["iou"] == pytest.approx(1)
    assert within["counted_mm2"] == pytest.approx(200 * 150 / 1e6)
    assert within["foci"] == within["foci_found"] == 1
    assert within["hausdorff_um"] == 0, "neither the end at the border of the ROI nor what lies outside counts"
    higher = numbers(found, truth, roi=shapely.box(-50, -50, 150, 160))
    assert higher["hausdorff_um"] == pytest.approx(59), "the end of the found one counts, that cut by the ROI does not"


def test_one_roi_border_that_is_all_of_the_boundary_is_no_boundary():
    roi = shapely.box(0, 0, 100, 100)
    found = numbers([box(-10, -10, 200, 200)], [box(0, 0, 100, 100)], roi=roi)
    assert found["dice"] == 1
    assert np.isnan(found["hausdorff_um"])


@settings(max_examples=60)
@given(masks, masks)
def test_as_counting_pixels_gives(a, b):
    found = numbers(cells(a), cells(b))
    both = (a & b).sum()
    assert found["found_mm2"] == pytest.approx(a.sum() * CELL**2 / 1e6)
    assert found["both_mm2"] == pytest.approx(both * CELL**2 / 1e6, abs=1e-12)
    if a.any() or b.any():
        assert found["dice"] == pytest.approx(2 * both / (a.sum() + b.sum()))
        assert found["iou"] == pytest.approx(both / (a | b).sum())
    areas = agreement_areas(cells(a), cells(b))
    counted = [m.sum() * CELL**2 for m in (a & b, a & ~b, b & ~a)]
    assert [areas.both.area, areas.only_found.area, areas.only_truth.area] == pytest.approx(counted)


@settings(max_examples=60)
@given(masks, masks, st.floats(0.2, 4.0))
def test_symmetry_bounds_and_scale(a, b, mpp):
    one, other = numbers(cells(a), cells(b)), numbers(cells(b), cells(a))
    assert one["dice"] == pytest.approx(other["dice"])
    assert one["iou"] == pytest.approx(other["iou"])
    for name in ("hausdorff_um", "p95_um", "mean_um"):
        assert one[name] == pytest.approx(other[name], nan_ok=True)
    assert one["sensitivity"] == pytest.approx(other["ppv"], nan_ok=True)
    assert one["area_error_mm2"] == pytest.approx(-other["area_error_mm2"])
    assert 0 <= one["iou"] <= one["dice"] <= 1
    assert not one["mean_um"] > one["hausdorff_um"] + 1e-9
    assert not one["p95_um"] > one["hausdorff_um"]
    scaled = numbers(cells(a), cells(b), (mpp, mpp))
    assert scaled["dice"] == pytest.approx(one["dice"])
    assert scaled["found_mm2"] == pytest.approx(one["found_mm2"] * mpp**2)
    assert scaled["hausdorff_um"] == pytest.approx(one["hausdorff_um"] * mpp, abs=STEP_UM * max(1, mpp), nan_ok=True)


@settings(max_examples=40)
@given(masks, masks)
def test_hausdorff_distance_as_geos_computes_it(a, b):
    if not (a.any() and b.any()):
        return
    areas = [shapely.union_all([c.geometry for c in cells(m)]).boundary for m in (a, b)]
    oracle = shapely.hausdorff_distance(*areas, densify=0.05)
    assert numbers(cells(a), cells(b))["hausdorff_um"] == pytest.approx(oracle, abs=STEP_UM)


def test_foci_and_false_regions_by_probability():
    truth = [box(0, 0, 100, 100), box(1000, 0, 1100, 100)]
    found = [
        box(0, 0, 100, 50, p=0.9),
        box(5000, 0, 5100, 100, p=0.6),
        # 9 % of the second focus, and with the next one 14 %; inside it, so neither is false.
        box(1000, 0, 1009, 100, p=0.5),
        box(1020, 0, 1025, 100, p=0.4),
    ]
    agreement = compare_regions(found, truth, UM)
    assert sorted(agreement.found_from) == [0.4, 0.9]
    assert agreement.false_from.tolist() == [0.6]
    curve = pooled([agreement], ["a"]).froc
    points = [(p["threshold"], p["sensitivity"]["value"], p["false_regions"]["value"]) for p in curve]
    assert points == [(0.9, 0.5, 0), (0.6, 0.5, 1), (0.4, 1, 1)]


def test_a_large_region_over_a_small_focus_is_not_false():
    agreement = compare_regions([box(0, 0, 1000, 1000, p=0.7)], [box(0, 0, 50, 50)], UM)
    assert agreement.found_from.tolist() == [0.7]
    assert agreement.false_from.tolist() == []


def test_outlines_that_share_an_edge_are_one_focus_and_corners_do_not_join():
    edge = numbers([], [box(0, 0, 100, 100), box(100, 0, 200, 100)])
    corner = numbers([], [box(0, 0, 100, 100), box(100, 100, 200, 200)])
    assert (edge["foci"], corner["foci"]) == (1, 2)
    regions = [box(0, 0, 100, 100, p=0.9), box(100, 100, 200, 200, p=0.3)]
    assert sorted(compare_regions(regions, [], UM).false_from) == [0.3, 0.9], "each has its own probability"


def test_without_probabilities_the_curve_is_one_point():
    agreement = compare_regions([box(0, 0, 90, 90), box(500, 0, 600, 90, p=0.5)], [box(0, 0, 90, 90)], UM)
    (point,) = pooled([agreement], ["a"]).froc
    assert point["threshold"] is None
    assert (point["sensitivity"]["value"], point["false_regions"]["value"]) == (1, 1)


@settings(max_examples=40)
@given(masks, masks, st.integers(0, 2**32 - 1))
def test_the_curve_rises_as_the_threshold_falls(a, b, seed):
    scores = np.random.default_rng(seed).random(a.sum()).tolist()
    found = [Annotation(c.geometry, measurements={PROBABILITY: p}) for c, p in zip(cells(a), scores, strict=True)]
    agreement = compare_regions(found, cells(b), UM)
    result = pooled([agreement], ["a"])
    for key in ("sensitivity", "false_regions"):
        values = [p[key]["value"] for p in result.froc]
        assert values == sorted(values) or not b.any()
    ends = agreement.numbers()
    assert result.froc[-1]["sensitivity"]["value"] == pytest.approx(ends["focus_sensitivity"], nan_ok=True)
    assert result.froc[-1]["false_regions"]["value"] == ends["false_regions"]


def test_pooled_numbers_by_hand():
    good = compare_regions([box(0, 0, 100, 100)], [box(0, 0, 100, 100)], UM)
    missed = compare_regions([], [box(0, 0, 200, 200)], UM)
    result = pooled([good, missed], ["a", "b"], resamples=200)
    values = {name: entry["value"] for name, entry in result.metrics.items()}
    assert (result.slides, result.patients) == (2, 2)
    assert values["dice"] == pytest.approx(2 * 1 / (1 + 5)), "of summed areas"
    assert values["mean_dice"] == pytest.approx(1 / 2)
    assert values["sensitivity"] == pytest.approx(1 / 5)
    assert values["ppv"] == 1
    assert values["area_error_mm2"] == pytest.approx(-0.02)
    assert values["absolute_area_error_mm2"] == pytest.approx(0.02)
    assert values["hausdorff_um"] == 0, "over the slide where it is defined"
    assert values["focus_sensitivity"] == 1 / 2
    assert values["false_regions"] == 0
    # Of two patients both, one or the other are drawn: all good, or all missed, are at the ends.
    assert result.metrics["dice"]["ci95"] == pytest.approx([0, 1])


def test_slides_of_one_patient_give_no_interval():
    one = compare_regions([box(0, 0, 100, 100)], [box(50, 0, 150, 100)], UM)
    result = pooled([one, one], ["a", "a"])
    assert result.metrics["dice"]["value"] == pytest.approx(0.5)
    assert np.isnan(result.metrics["dice"]["ci95"]).all()
