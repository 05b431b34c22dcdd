import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from wsi_idc.base.grid import Grid
from wsi_idc.regions.delineate import delineate_field
from wsi_idc.regions.interpolate import make_field
from wsi_idc.regions.outlining import Outlining
from wsi_idc.viewer.preview import Preview

GRID = Grid((15_000, 10_000), (0.25, 0.25), 50, 0.25)
WHOLE = (0.0, 0.0, 15_000.0, 10_000.0)


def field(seed, sigma=6.0, grid=GRID):
    values = gaussian_filter(np.random.default_rng(seed).standard_normal(grid.shape), sigma)
    values = (values - values.min()) / np.ptp(values)
    tissue = np.ones(grid.shape, bool)
    tissue[:20] = False
    return make_field(values.astype(np.float32), grid, tissue)


def area_of(lines):
    """What lines enclose an odd number of times."""
    area = shapely.MultiPolygon()
    for line in lines:
        area = area.symmetric_difference(shapely.make_valid(shapely.Polygon(line)))
    return area


@given(st.integers(0, 50), st.sampled_from([0.3, 0.5, 0.62, 0.8]))
def test_a_preview_of_all_is_near_to_what_delineate_gives(seed, threshold):
    made, outlining = field(seed), Outlining(threshold, min_area_mm2=0.0)
    found = Preview(made, outlining).lines(threshold, WHOLE)
    exact = shapely.union_all([r.geometry for r in delineate_field(made, 1, outlining).regions])
    rest = area_of(found["lines"]).symmetric_difference(exact).area
    # Within half a pixel of the field along the outline.
    assert rest <= 0.5 * 50 * exact.length + 1
    assert found["about_mm2"] == pytest.approx(exact.area * 0.0625 / 1e6, rel=0.1, abs=0.02)


def test_what_is_in_view_alone_is_traced_and_finer(monkeypatch):
    monkeypatch.setattr("wsi_idc.viewer.preview._SIDE", 100)
    made, outlining = field(3), Outlining(0.55, min_area_mm2=0.0)
    preview = Preview(made, outlining)
    coarse = area_of(preview.lines(0.55, WHOLE)["lines"])
    view = shapely.box(4000, 4000, 8000, 8000)
    fine = area_of(preview.lines(0.55, view.bounds)["lines"])
    exact = shapely.union_all([r.geometry for r in delineate_field(made, 1, outlining).regions]) & view
    assert fine.bounds[0] > 3700 and fine.bounds[2] < 8300
    assert (fine & view).symmetric_difference(exact).area < (coarse & view).symmetric_difference(exact).area
    assert preview.lines(0.55, (20_000, 0, 30_000, 10_000))["lines"] == []


def test_what_reaches_no_peak_or_is_no_focus_is_not_shown():
    values = np.zeros(GRID.shape, np.float32)
    values[50:70, 50:70] = 0.9
    values[50:70, 150:170] = 0.5
    values[120:122, 50:52] = 0.95
    made = make_field(values, GRID, np.ones(GRID.shape, bool))
    found = Preview(made, Outlining(0.7, low=0.4, min_area_mm2=0.002)).lines(0.7, WHOLE)
    assert len(found["lines"]) == 1 and found["lines"][0].max() < 4000
    assert len(Preview(made, Outlining(0.7, low=0.4, min_area_mm2=0.0)).lines(0.45, WHOLE)["lines"]) == 3
    # Cut by the border of what is in view, nobody knows how large it is.
    few = Preview(made, Outlining(0.7, min_area_mm2=0.002))
    assert len(few.lines(0.7, WHOLE)["lines"]) == 1
    assert len(few.lines(0.7, (0, 0, 2500, 6000))["lines"]) == 2
