"""What the picture of a run shows, by the colours of its pixels."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from PIL import Image

import wsi_idc
from wsi_idc.base.grid import Grid
from wsi_idc.base.pages.colours import IDC, NOT_COMPUTED, heat_colours, heat_lines
from wsi_idc.base.pages.sheet import ThreePanels
from wsi_idc.base.pages.strokes import number
from wsi_idc.regions.delineate import delineate
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.regions.outlining import Outlining
from wsi_idc.runs.results import overview
from wsi_idc.runs.results.overview import Pictured, draw_overview, heat_layer
from wsi_idc.slides.write import write_slide

# 20 x 20 patches of 200 um, in a slide of 4 x 4 mm: a panel has 900 pixels, 45 a patch.
GRID = Grid((1000, 1000), (4.0, 4.0), 50, 4.0)


def pictured(heatmap, **outlining):
    tissue = np.ones(fine_grid(GRID).shape, bool)
    asked = Outlining(**{"threshold": 0.5, "min_area_mm2": 0.04} | outlining)
    found = delineate(heatmap.astype(np.float32), GRID, tissue, asked)
    pixels = np.full((1000, 1000, 3), (230, 170, 200), np.uint8)
    failed = np.zeros(heatmap.shape, bool)
    ends = found.regions, found.slivers, asked.level, asked.peak, asked.bands
    return Pictured("slide", pixels, heatmap, failed, tissue, GRID, *ends)


def panels(run, tmp_path):
    draw_overview(tmp_path / "overview.png", run)
    sheet = Image.open(tmp_path / "overview.png")
    layout = ThreePanels.of(*run.extent_mm)
    assert sheet.size == layout.size
    return [np.asarray(sheet.crop(layout.box(n))).astype(int) for n in range(3)], np.asarray(sheet).astype(int)


def has(pixels, colour, within=12):
    return np.abs(pixels - np.array(colour)).max(-1) <= within


@pytest.fixture
def two_masses():
    heatmap = np.zeros((20, 20))
    heatmap[4:12, 4:12] = 0.95
    heatmap[15:18, 15:18] = 0.6
    heatmap[2, 16] = 0.55  # alone: smaller than a patch once interpolated
    return heatmap


def test_one_panel_is_the_slide_and_nothing_else(two_masses, tmp_path):
    (plain, _, _), _ = panels(pictured(two_masses), tmp_path)
    assert (plain[2:-2, 2:-2] == (230, 170, 200)).all()


def test_outlines_have_the_colour_that_qupath_shows(two_masses, tmp_path):
    from wsi_idc.annotations.formats.qupath import IDC_CLASS

    assert IDC_CLASS["color"] == list(IDC)
    run = pictured(two_masses)
    assert (len(run.regions), len(run.slivers)) == (2, 1)
    (_, regions, heat), _ = panels(run, tmp_path)
    for panel in (regions, heat):
        rows, _ = np.nonzero(has(panel, IDC)[: 13 * 45, : 13 * 45])
        # Half way from 0.95 to 0 between the centres of patches, a little outside their border.
        assert (rows.min() / 45, rows.max() / 45) == pytest.approx((4, 12), abs=0.15)
    sliver = np.s_[45:180, 15 * 45 : 18 * 45]
    assert has(regions[sliver], IDC, 90).any() and not has(heat[sliver], IDC, 90).any()


def test_heat_begins_at_the_threshold_and_is_lines(two_masses, tmp_path):
    (_, _, heat), sheet = panels(pictured(two_masses), tmp_path)
    # Inside the line of 0.9 the tissue is as it was.
    assert (heat[7 * 45 : 9 * 45, 7 * 45 : 9 * 45] == (230, 170, 200)).all()
    yellow, other = (heat_colours(np.array([p]), 0.5)[0] for p in (0.9, 0.7))
    assert has(heat, yellow, 25).any() and has(heat, other, 25).any()
    # What is below the threshold is not drawn.
    below = two_masses.copy()
    below[below > 0.5] = 0.45
    (_, _, heat), _ = panels(pictured(below), tmp_path)
    assert (heat[2:-2, 2:-2] == (230, 170, 200)).all()
    left, top = ThreePanels.of(4.0, 4.0).legend
    assert has(sheet[top + 2 : top + 20, left + 4 : left + 6], heat_colours(np.array([0.5]), 0.5)[0], 4).all()
    assert heat_lines(0.23) == (0.23, 0.5, 0.7, 0.9)


def test_heat_is_told_apart_by_brightness_alone():
    colours = heat_colours(np.linspace(0.3, 1, 50), 0.3) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(colours) > 0).all()


def test_what_was_not_computed_is_hatched(two_masses, tmp_path):
    run = pictured(two_masses)
    failed = np.zeros((20, 20), bool)
    failed[16:18, 2:4] = True
    (_, regions, _), _ = panels(replace(run, failed=failed), tmp_path)
    dark = has(regions, NOT_COMPUTED, 30)
    assert 0.1 < dark[16 * 45 : 18 * 45, 90:180].mean() < 0.6
    assert not dark[: 14 * 45].any()


def test_numbers_stand_in_their_areas_and_not_on_one_another():
    panel = Image.new("RGB", (400, 400), (230, 170, 200))
    boxes = [shapely.box(20, 20, 200, 200), shapely.box(300, 300, 380, 380), shapely.box(301, 301, 379, 379)]
    assert number(panel, boxes, np.ones(2), IDC) == 1
    red = has(np.asarray(panel).astype(int), IDC, 40)
    assert red[20:200, 20:200].any() and red[300:380, 300:380].any()
    assert not red[:, 210:290].any()


def test_a_small_slide_is_shown_in_its_own_pixels(tmp_path):
    """Stripes of 2 um at 0.5 um/px are grey at 8 um/px, at which tissue is found."""
    pixels = np.full((1600, 1600, 3), 240, np.uint8)
    pixels[200:1400, 200:1400] = (200, 110, 160)
    pixels[200:1400, 200:1400:8] = pixels[200:1400, 201:1400:8] = (90, 40, 120)
    pixels[200:1400, 202:1400:8] = pixels[200:1400, 203:1400:8] = (90, 40, 120)
    slide = write_slide(tmp_path / "stripes.tif", pixels, 0.5, downsamples=(1,), compression="deflate")
    run = wsi_idc.segment(slide, tmp_path / "out", model="idc-patch")
    panel = np.asarray(Image.open(run.overview).crop(ThreePanels.of(0.8, 0.8).box(0))).astype(int)
    assert np.ptp(panel[400:500, 400:500, 1]) > 40


def test_bands_are_seen(two_masses, tmp_path):
    """Along the probabilities that were asked for, below the threshold too, and along no others."""
    bands = (0.2, 0.4, 0.8)
    run = pictured(two_masses, bands=bands)
    (_, _, heat), sheet = panels(run, tmp_path)
    for p in bands:
        assert has(heat, heat_colours(np.array([p]), 0.2)[0]).sum() > 100
    for p in heat_lines(0.5)[1:]:
        assert not has(heat, heat_colours(np.array([p]), 0.2)[0], 2).any()
    _, plain = panels(pictured(two_masses), tmp_path)
    assert (sheet != plain).any(-1).sum() > 1000


@pytest.mark.parametrize("rows", [1, 7, 128])
def test_lines_are_the_same_however_many_rows_are_drawn_at_once(two_masses, monkeypatch, rows):
    run = replace(pictured(two_masses), tissue=np.indices(fine_grid(GRID).shape).sum(0) > 40)
    monkeypatch.setattr(overview, "_BAND", 10_000)
    whole = [np.asarray(image) for image in heat_layer(run, (300, 300))]
    assert whole[0].any()
    monkeypatch.setattr(overview, "_BAND", rows)
    for image, expected in zip(heat_layer(run, (300, 300)), whole, strict=True):
        np.testing.assert_array_equal(image, expected)
