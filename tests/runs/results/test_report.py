"""The page of a run: what it says, that it stays small and asks for nothing, and what it does in a browser."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from browser import needs_browser, told

import wsi_idc
from wsi_idc.base.grid import Grid
from wsi_idc.regions.delineate import delineate
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.regions.outlining import Outlining
from wsi_idc.runs.results.overview import Pictured
from wsi_idc.runs.results.report import write_report
from wsi_idc.runs.results.words import conclusion, limits


@pytest.fixture(scope="module")
def run(painted, tmp_path_factory):
    """A run of a slide whose name is HTML, with more than one region."""
    folder = tmp_path_factory.mktemp("report")
    slide = shutil.copy(painted, folder / "<img src=x onerror=alert(1)>&.tif")
    return wsi_idc.segment(slide, folder / "out", threshold=0.02)


@pytest.fixture(scope="module")
def page(run):
    return (run.folder / "report.html").read_text(encoding="utf-8")


def test_what_comes_from_outside_is_text(run, page):
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;.tif" in page
    assert run.summary["slide"]["slide"].startswith("<img")


def test_a_page_is_one_file_that_asks_for_nothing(page):
    assert "://" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert not re.findall(r"url\((?!data:)", page)
    assert "default-src 'none'" in page


def test_the_conclusion_comes_first_then_the_limits_then_the_numbers(run, page):
    places = [page.index(text) for text in (conclusion(run.summary), "What limits this result", "Numbers", "Words")]
    assert places == sorted(places)
    assert run.summary["warnings"]
    for warning in run.summary["warnings"]:
        assert warning[1:] in page
    assert f"model {run.summary['model']['name']} {run.summary['model']['version']}" in page


def test_every_region_has_a_row_and_an_outline(run, page):
    features = json.loads(run.regions.read_text())["features"]
    assert len(features) > 1
    for number, feature in enumerate(features, 1):
        assert f'<tr data-region="{number}"' in page and f'id="region-{number}"' in page
        assert f">{feature['properties']['measurements']['Area mm2']:.3f}<" in page


SUMMARY = {
    "tissue_mm2": 20.0,
    "idc_mm2": 5.0,
    "idc_share": 0.25,
    "foci": 2,
    "patches": 500,
    "largest_extent_mm": 3.0,
    "failed_chunks": [],
    "warnings": [],
    "message": "",
    "uncertain_share": 0.05,
    "ink_mm2": 0.0,
    "out_of_focus_share": 0.0,
    "foci_at_slide_edge": 0,
    "foci_at_tissue_edge": 0,
    "slivers": 0,
    "slivers_mm2": 0.0,
    "parameters": {"min_area_mm2": 0.04},
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "IDC was found: 5.00 mm² in 2 foci, 25% of 20.00 mm² of tissue; the largest is 3.00 mm across."),
        ({"foci": 1}, "IDC was found: 5.00 mm² in one focus, 25% of 20.00 mm² of tissue; it is 3.00 mm across."),
        ({"foci": 0}, "No IDC was found in 20.00 mm² of tissue."),
        (
            {"tissue_mm2": 0, "patches": 0},
            "Nothing was looked at, no tissue found: whether it has IDC is not known.",
        ),
        (
            {"foci": 0, "failed_chunks": [{"patches": 7, "reason": "broken"}]},
            "Incomplete: 7 patches could not be computed. Of the others: No IDC was found in 20.00 mm² of tissue.",
        ),
    ],
)
def test_a_conclusion_is_one_sentence(changes, said):
    assert conclusion(SUMMARY | changes) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"uncertain_share": 0.64}, "64% of the area of IDC is uncertain"),
        ({"ink_mm2": 1.5}, "Pen ink covers 1.50 mm²"),
        ({"out_of_focus_share": 0.1}, "10% of the tissue is out of focus"),
        ({"foci_at_slide_edge": 1}, "One focus ends at the edge of the slide"),
        ({"foci_at_tissue_edge": 2}, "2 foci end where the tissue ends"),
        ({"slivers": 1, "slivers_mm2": 0.01}, "One area smaller than 0.04 mm², 0.010 mm² in all, is listed apart"),
        ({"failed_chunks": [{"patches": 7, "reason": "broken"}]}, "7 patches were not computed (broken)"),
        ({"warnings": ["the scale is an estimate"]}, "The scale is an estimate."),
    ],
)
def test_each_limit_is_said_and_no_other(changes, said):
    (sentence,) = limits(SUMMARY | changes)
    assert sentence.startswith(said)
    assert limits(SUMMARY) == []


def test_a_page_of_noise_stays_small(run, tmp_path):
    """20,000 specks on a large slide of noise, which compresses worst."""
    rng = np.random.default_rng(0)
    grid = Grid((40_000, 30_000), (0.5, 0.5), 50, 1.0)
    heatmap = rng.random(grid.shape).astype(np.float32)
    tissue = np.ones(fine_grid(grid).shape, bool)
    asked = Outlining(0.8, min_area_mm2=0.0001)
    found = delineate(heatmap, grid, tissue, asked)
    assert len(found.regions) > 5000
    pixels = rng.integers(0, 255, (1500, 2000, 3), np.uint8)
    failed = rng.random(grid.shape) > 0.9
    pictured = Pictured("n", pixels, heatmap, failed, tissue, grid, found.regions, found.slivers, 0.3, 0.8)
    write_report(tmp_path / "report.html", run.summary, pictured, [], "noise")
    assert (tmp_path / "report.html").stat().st_size < 3_000_000
    calm = replace(pictured, heatmap=np.full(grid.shape, np.nan), regions=[], slivers=[])
    write_report(tmp_path / "report.html", run.summary, calm, [], "nothing")
    assert "No patch was computed." in (tmp_path / "report.html").read_text()


@needs_browser
def test_layers_are_switched_and_a_row_shows_its_region(run, tmp_path):
    code = """
      const box = id => document.querySelector(`[data-layer="${id}"]`), off = id =>
        document.querySelector(`[data-of="${id}"]`).classList.contains("off");
      const before = [off("slide"), off("heat")];
      box("slide").click(); box("heat").click();
      const after = [off("slide"), off("heat")];
      const whole = slide.getAttribute("viewBox");
      document.querySelector('#regions tr[data-region="2"]').click();
      const [x, y, w, h] = slide.getAttribute("viewBox").split(" ").map(Number);
      const b = document.getElementById("region-2").getBBox();
      const inside = x <= b.x && y <= b.y && x + w >= b.x + b.width && y + h >= b.y + b.height;
      document.getElementById("whole").click();
      return {before, after, inside, nearer: w < Number(whole.split(" ")[2]),
        back: slide.getAttribute("viewBox") === whole, date: document.getElementById("date").textContent, faults};
    """
    seen = told(run.folder / "report.html", code, tmp_path)
    assert (seen["before"], seen["after"]) == ([False, True], [True, False])
    assert seen["inside"] and seen["nearer"] and seen["back"]
    assert re.search(r"file written \d{4}-\d\d-\d\d", seen["date"])
    assert seen["faults"] == []


@needs_browser
def test_a_table_is_sorted_as_numbers(run, tmp_path):
    code = """
      const head = [...document.querySelectorAll("#regions th")][1];
      const areas = () => [...document.querySelectorAll("#regions tbody tr")].map(r => Number(r.cells[1].textContent));
      head.querySelector("button").click(); const first = areas(), one = head.getAttribute("aria-sort");
      head.querySelector("button").click(); const second = areas(), two = head.getAttribute("aria-sort");
      return {first, second, one, two};
    """
    seen = told(run.folder / "report.html", code, tmp_path)
    assert seen["first"] == sorted(seen["first"], reverse=True) and seen["one"] == "descending"
    assert seen["second"] == sorted(seen["first"]) and seen["two"] == "ascending"


@needs_browser
@pytest.mark.parametrize("width", [400, 1280, 1920])
def test_nothing_is_wider_than_the_window(run, tmp_path, width):
    code = "return [document.documentElement.scrollWidth, innerWidth];"
    wide, window = told(run.folder / "report.html", code, tmp_path, width)
    assert wide <= window
