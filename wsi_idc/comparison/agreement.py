"""Compare outlines of a slide, found ones with true ones or those of two observers: areas, boundaries and foci.

Areas are those of the polygons, exact. Where neither side outlines anything, both agree: Dice and IoU are 1. Whatever
has nothing to be measured on is NaN, not 0: distances where one side has no boundary, sensitivity without truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.base.bootstrap import Metrics, patient_bootstrap
from wsi_idc.base.polygons import polygons_of

PROBABILITY = "Mean probability"
# Boundaries are sampled this densely; a distance between boundaries is off by half of it at most.
STEP_UM = 5.0
# A focus is found where regions cover this share of it. McKinney et al. 2020 and PI-CAI (Saha et al. 2024) ask for a
# tenth too, of the union; of the focus it does not fail a region for reaching beyond it, which the areas tell.
FOUND_SHARE = 0.1
# Parts smaller than a cell are what overlaying outlines leaves along their edges: neither foci nor regions.
_CELL_UM2 = 100.0
# A boundary this near to the border of an ROI was cut off there, or drawn along it.
_BORDER_PX = 1.0
_CURVE_POINTS = 50
# A threshold that keeps every region, but not the -inf of a focus that none finds.
_ALL = np.finfo(float).min
_POINT = ("sensitivity", "false_regions")
_MEANS = ("area_error_mm2", "hausdorff_um", "p95_um", "mean_um", "mean_to_truth_um", "false_regions")


@dataclass(frozen=True, slots=True)
class SlideAgreement:
    """How far two sides agree on a slide; what is not defined is NaN.

    `counted_mm2` is the area of the ROI, NaN where all counts. `hausdorff_um` and `p95_um` are the larger of both ways,
    `mean_um` the mean over both boundaries, `mean_to_truth_um` that from the found boundary to the true one.

    `found_from` (foci,) is the highest probability of a region at which the focus still is found, -inf where it never
    is; `false_from` (false regions,) the probability of each. Both are inf where regions have no probability.
    """

    found_mm2: float
    truth_mm2: float
    both_mm2: float
    counted_mm2: float
    hausdorff_um: float
    p95_um: float
    mean_um: float
    mean_to_truth_um: float
    found_from: np.ndarray
    false_from: np.ndarray

    def numbers(self) -> dict[str, float]:
        """Return the numbers of the slide by name: those of the fields, and what follows from them."""
        stated = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("found_from", "false_from")}
        foci, foci_found = len(self.found_from), int((self.found_from > -np.inf).sum())
        return (
            stated
            | area_metrics(self.found_mm2, self.truth_mm2, self.both_mm2)
            | {
                "area_error_mm2": self.found_mm2 - self.truth_mm2,
                "foci": foci,
                "foci_found": foci_found,
                "focus_sensitivity": foci_found / foci if foci else np.nan,
                "false_regions": len(self.false_from),
            }
        )


@dataclass(frozen=True, slots=True)
class Areas:
    """Where both sides agree, and what only one of them outlines, in level-0 pixels; `roi` limits what counts."""

    both: MultiPolygon
    only_found: MultiPolygon
    only_truth: MultiPolygon
    roi: MultiPolygon | None


def area_metrics(found: float, truth: float, both: float) -> dict[str, float]:
    """Compute Dice, IoU, sensitivity and PPV from the areas of the two sides and of their intersection."""
    either = found + truth - both
    return {
        "dice": 2 * both / (found + truth) if either else 1.0,
        "iou": both / either if either else 1.0,
        "sensitivity": both / truth if truth else np.nan,
        "ppv": both / found if found else np.nan,
    }


def compare_regions(
    found: Sequence[Annotation],
    truth: Sequence[Annotation],
    mpp: tuple[float, float],
    roi: Polygon | MultiPolygon | None = None,
) -> SlideAgreement:
    """Compare two outlines of a slide of `mpp` (x, y) um per level-0 pixel; only what lies in `roi` counts.

    Outlines of one side that overlap or share an edge are one region. Boundaries are compared by length, as the
    surface distances of Maier-Hein et al. 2024 (Metrics Reloaded); where they run along the border of the ROI, which
    nobody drew as a boundary, they do not count.
    """
    unions = [_union(side) for side in (found, truth)]
    a, b = (_inside(union, roi) for union in unions)
    mm2 = mpp[0] * mpp[1] / 1e6
    found_mm2, truth_mm2 = a.area * mm2, b.area * mm2
    # By rounding an intersection may exceed what is intersected.
    both_mm2 = min(shapely.intersection(a, b).area * mm2, found_mm2, truth_mm2)
    found_from, false_from = _detect(found, a, b, mm2 * 1e6)
    counted = np.nan if roi is None else roi.area * mm2
    distances = _distances(*(_boundary(union, roi, mpp) for union in unions))
    return SlideAgreement(found_mm2, truth_mm2, both_mm2, counted, *distances, found_from, false_from)


def agreement_areas(
    found: Sequence[Annotation], truth: Sequence[Annotation], roi: Polygon | MultiPolygon | None = None
) -> Areas:
    """Part what two sides outline into what both do and what only one does."""
    a, b = (_inside(_union(side), roi) for side in (found, truth))
    both, only_found, only_truth = shapely.intersection(a, b), shapely.difference(a, b), shapely.difference(b, a)
    return Areas(polygons(both), polygons(only_found), polygons(only_truth), None if roi is None else polygons(roi))


def polygons(geometry: shapely.Geometry) -> MultiPolygon:
    """Return what of a geometry is area; overlaying outlines leaves lines and points where they touch."""
    return MultiPolygon([p for p in polygons_of(geometry) if p.area > 0])


def _union(annotations: Sequence[Annotation]) -> MultiPolygon:
    return polygons(shapely.union_all([a.geometry for a in annotations]))


def _inside(area: MultiPolygon, roi: Polygon | MultiPolygon | None) -> MultiPolygon:
    return area if roi is None else polygons(shapely.intersection(area, roi))


def _boundary(area: MultiPolygon, roi: Polygon | MultiPolygon | None, mpp: tuple[float, float]) -> np.ndarray:
    """Return the boundary as lines in um, without what lies outside the ROI or on its border."""
    lines: shapely.Geometry = shapely.boundary(area)
    if roi is not None:
        lines = shapely.intersection(lines, shapely.buffer(roi, -_BORDER_PX))
    parts = [line for line in shapely.get_parts(lines) if line.length > 0]
    return np.array(shapely.transform(parts, lambda xy: xy * np.array(mpp)), dtype=object)


def _distances(found: np.ndarray, truth: np.ndarray) -> tuple[float, float, float, float]:
    """Measure Hausdorff, 95th percentile, mean of both ways, and mean from found to truth, in um, NaN without lines."""
    if not (len(found) and len(truth)):
        return (np.nan,) * 4
    ways = [_to_nearest(found, truth), _to_nearest(truth, found)]
    largest = max(float(distance.max()) for distance, _ in ways)
    # Of each way, then the larger, as DeepMind's surface-distance does.
    p95 = max(_percentile(distance, length, 0.95) for distance, length in ways)
    mean = [float(np.average(distance, weights=length)) for distance, length in ways]
    return largest, p95, float(np.average(mean, weights=[length.sum() for _, length in ways])), mean[0]


def _percentile(distance: np.ndarray, length: np.ndarray, share: float) -> float:
    """Return the smallest distance that `share` of the length does not exceed."""
    order = np.argsort(distance, kind="stable")
    reached = np.cumsum(length[order])
    return float(distance[order[np.searchsorted(reached, share * reached[-1])]])


def _to_nearest(lines: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far samples of `lines` are from `others` (n,), and the length that each stands for (n,), in um."""
    xy, owner = shapely.get_coordinates(shapely.segmentize(lines, STEP_UM), return_index=True)
    pieces = np.hypot(*np.diff(xy, axis=0).T) * (np.diff(owner) == 0)
    length = (np.append(pieces, 0.0) + np.insert(pieces, 0, 0.0)) / 2
    # Corners are samples too: the largest distance is mostly at one.
    corners, owner = shapely.get_coordinates(others, return_index=True)
    joined = np.flatnonzero(np.diff(owner) == 0)
    segments = np.array(shapely.linestrings(np.stack([corners[joined], corners[joined + 1]], axis=1)), dtype=object)
    tree = shapely.STRtree(segments)
    _, distance = tree.query_nearest(shapely.points(xy), return_distance=True, all_matches=False)
    return distance, length


def _detect(
    annotations: Sequence[Annotation], found: MultiPolygon, truth: MultiPolygon, um2: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return `found_from` and `false_from` of a SlideAgreement; `um2` is the area of a pixel.

    A focus is found where regions cover FOUND_SHARE of it. A region is false where less than this share of it is true,
    and it covers less than this share of every focus. As in the FROC of CAMELYON16 (Ehteshami Bejnordi et al. 2017)
    several regions in one focus are one hit, and none of them is false.
    """
    regions, foci = (np.array([p for p in a.geoms if p.area * um2 >= _CELL_UM2], object) for a in (found, truth))
    scores = _probabilities(regions, annotations)
    region, focus = shapely.STRtree(foci).query(regions, predicate="intersects")
    overlap = shapely.area(shapely.intersection(regions[region], foci[focus]))
    # The sums of areas are rounded.
    needed = (FOUND_SHARE - 1e-9) * shapely.area(foci)
    # Regions come in from the most probable down; each focus adds up what covers it.
    order = np.lexsort((-scores[region], focus))
    region, focus, overlap = region[order], focus[order], overlap[order]
    covered = np.cumsum(overlap)
    before = np.insert(covered, 0, 0.0)[np.searchsorted(focus, focus)]
    found_from = np.full(len(foci), -np.inf)
    enough = covered - before >= needed[focus]
    np.maximum.at(found_from, focus[enough], scores[region[enough]])
    true_area = np.bincount(region, overlap, len(regions))
    false = true_area < (FOUND_SHARE - 1e-9) * shapely.area(regions)
    false[region[overlap >= needed[focus]]] = False
    return found_from, scores[false]


def _probabilities(regions: np.ndarray, annotations: Sequence[Annotation]) -> np.ndarray:
    """Return the probability of each region, the highest of the annotations in it; inf where any has none."""
    stated = np.array([a.measurements.get(PROBABILITY, np.nan) for a in annotations])
    if not np.isfinite(stated).all():
        return np.full(len(regions), np.inf)
    outlines = np.array([a.geometry for a in annotations], object)
    region, annotation = shapely.STRtree(outlines).query(regions, predicate="intersects")
    # Regions that touch at a corner intersect too, but share no area.
    shared = shapely.area(shapely.intersection(regions[region], outlines[annotation])) > 0
    scores = np.full(len(regions), -np.inf)
    np.maximum.at(scores, region[shared], stated[annotation[shared]])
    return scores


@dataclass(frozen=True, slots=True)
class PooledAgreement:
    """Slides together: each metric as {"value", "ci95": [low, high]}, and the points of the FROC curve.

    A point has "threshold", None where all regions count, "sensitivity" and "false_regions", with intervals too.
    """

    slides: int
    patients: int
    metrics: dict[str, dict[str, Any]]
    froc: list[dict[str, Any]]


def pooled(agreements: Sequence[SlideAgreement], patients: Sequence[str], resamples: int = 1000) -> PooledAgreement:
    """Pool slides, `patients` (slides,) with whose they are, with 95 % intervals from a bootstrap over patients.

    Dice, IoU, sensitivity and PPV are those of the summed areas, `focus_sensitivity` that of all foci; `mean_dice`, the
    distances, area errors and `false_regions` are means over the slides on which they are defined.
    """
    rows = [a.numbers() for a in agreements]
    areas = np.array([[r["found_mm2"], r["truth_mm2"], r["both_mm2"]] for r in rows])
    means = {name: np.array([r[name] for r in rows]) for name in _MEANS}
    means |= {"mean_dice": np.array([r["dice"] for r in rows])}
    means |= {"absolute_area_error_mm2": np.abs(means["area_error_mm2"])}
    foci = np.array([r["foci"] for r in rows])
    thresholds = _thresholds(agreements)
    found_at, false_at = (
        np.array([(scores[:, None] >= thresholds).sum(0) for scores in column])
        for column in zip(*((a.found_from, a.false_from) for a in agreements), strict=True)
    )

    def compute(weights: np.ndarray) -> Metrics:
        values = area_metrics(*(weights @ areas).tolist())
        values |= {name: _mean(column, weights) for name, column in means.items()}
        drawn = weights @ foci
        sensitivity = weights @ found_at / drawn if drawn else np.full(len(thresholds), np.nan)
        points = zip(sensitivity.tolist(), (weights @ false_at / weights.sum()).tolist(), strict=True)
        values |= {f"{key}@{n}": v for n, point in enumerate(points) for key, v in zip(_POINT, point, strict=True)}
        # The lowest threshold comes last, and keeps all regions.
        return values | {"focus_sensitivity": float(sensitivity[-1])}

    entries = patient_bootstrap(np.array(patients), compute, resamples)
    froc = [
        {"threshold": None if t == _ALL else float(t)} | {key: entries.pop(f"{key}@{n}") for key in _POINT}
        for n, t in enumerate(thresholds)
    ]
    return PooledAgreement(len(rows), len(set(patients)), entries, froc)


def _mean(column: np.ndarray, weights: np.ndarray) -> float:
    known = np.isfinite(column)
    return float(np.average(column[known], weights=weights[known])) if weights[known].any() else np.nan


def _thresholds(agreements: Sequence[SlideAgreement]) -> np.ndarray:
    """Return the thresholds of a FROC curve from the highest down; one that keeps all without probabilities."""
    scores = np.concatenate([s for a in agreements for s in (a.found_from, a.false_from)])
    scores = np.unique(scores[scores > -np.inf])
    if not len(scores) or np.isinf(scores).any():
        return np.array([_ALL])
    spread = np.linspace(len(scores) - 1, 0, min(len(scores), _CURVE_POINTS)).astype(int)
    return scores[spread]
