"""What export_corrected.groovy of examples/qupath sends back, as QuPath 0.5 writes it, is taken as any outlines are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import wsi_idc
from wsi_idc.data.cut import cut_patches
from wsi_idc.data.kaggle import index_patches
from wsi_idc.errors import SlideError
from wsi_idc.models.registry import find_model
from wsi_idc.slides.write import write_slide

BUNDLE = Path(__file__).parents[2] / "examples" / "qupath"
# A region that came back with its vertices moved, one drawn by hand with a hole, what was looked at, a remark.
EXPORTED = """{"type": "FeatureCollection", "features": [
{"type": "Feature", "id": "%(id)s", "geometry": {"type": "Polygon", "coordinates":
 [[[150.0, 150], [400.25, 150], [400.25, 350.5], [150.0, 350.5], [150.0, 150]]]},
 "properties": {"objectType": "annotation", "name": "IDC 1", "classification": {"name": "IDC", "color": [200, 0, 0]},
 "measurements": {"Area mm2": 0.8, "Patches": 20, "Touches tissue edge": 0}}},
{"type": "Feature", "id": "2f3c9e0a-4b0e-4b63-9a58-7e7e5dd0e9c1", "geometry": {"type": "MultiPolygon", "coordinates":
 [[[[450, 100], [600, 100], [600, 300], [450, 300], [450, 100]], [[500, 150], [500, 200], [550, 200], [550, 150],
 [500, 150]]]]},
 "properties": {"objectType": "annotation", "classification": {"name": "IDC", "color": [200, 0, 0]}}},
{"type": "Feature", "id": "0c9a2d35-66a5-4f5c-8a1b-9d2f0f6f3a77", "geometry": {"type": "Polygon", "coordinates":
 [[[100, 50], [700, 50], [700, 450], [100, 450], [100, 50]]]},
 "properties": {"objectType": "annotation", "isLocked": true,
 "classification": {"name": "ROI", "color": [80, 80, 80]}}},
{"type": "Feature", "id": "63d7a6f0-1d6e-4a3a-8a0c-5b1f1d0f7a11", "geometry": {"type": "Point", "coordinates": [9, 9]},
 "properties": {"objectType": "annotation", "name": "look here"}}], "wsi_idc": %(origin)s}"""


@pytest.fixture(scope="module")
def run(painted, tmp_path_factory) -> Path:
    return wsi_idc.segment(painted, tmp_path_factory.mktemp("found")).folder


@pytest.fixture
def corrected(run, tmp_path) -> Path:
    regions = json.loads((run / "regions.geojson").read_text())
    said = {"id": regions["features"][0]["id"], "origin": json.dumps(regions["wsi_idc"])}
    path = tmp_path / "corrected" / f"{run.name}.geojson"
    path.parent.mkdir()
    path.write_text(EXPORTED % said)
    return path


def test_a_folder_of_runs_is_compared_with_what_came_back(run, corrected):
    agreement = wsi_idc.compare(run.parent, corrected.parent)
    (slide,) = agreement["slides"]
    um2 = (250.25 * 200.5 + 150 * 200 - 50 * 50) * 4.0**2
    assert slide["slide"] == run.name
    assert slide["truth_mm2"] == pytest.approx(um2 / 1e6, rel=1e-3)
    assert 0 < slide["dice"] < 1


def test_patches_are_cut_from_what_came_back(painted, corrected, tmp_path):
    cut_patches(painted, corrected, tmp_path / "patches", find_model("idc-context"))
    patches = index_patches(tmp_path / "patches")
    assert {p.label for p in patches} == {False, True}
    # Whole patches of the outlined area, and none outside what was looked at.
    assert all(100 <= p.x - 1 < 700 and 50 <= p.y - 1 < 450 for p in patches)
    assert any((p.x, p.y, p.label) == (201, 201, True) for p in patches)


def test_it_is_refused_on_another_slide(corrected, tmp_path):
    other = write_slide(tmp_path / "other.tif", np.full((300, 400, 3), 200, np.uint8), 4.0)
    with pytest.raises(SlideError, match="is not the slide that"):
        cut_patches(other, corrected, tmp_path / "patches", find_model("idc-context"))


def test_nothing_left_of_a_slide_is_no_idc(run, corrected):
    sent = json.loads(corrected.read_text())
    corrected.write_text(json.dumps(sent | {"features": []}))
    (slide,) = wsi_idc.compare(run.parent, corrected.parent)["slides"]
    assert (slide["truth_mm2"], slide["dice"]) == (0, 0)


@pytest.mark.parametrize("script", ["import_run.groovy", "export_corrected.groovy"])
def test_the_scripts_read_what_a_run_leaves(run, script):
    text = (BUNDLE / script).read_text(encoding="utf-8")
    summary = json.loads((run / "summary.json").read_text())
    assert {"slide"} <= set(re.findall(r"getAsJsonObject\('(\w+)'\)", text)) <= set(summary)
    assert set(re.findall(r"slide\.get\('(\w+)'\)", text)) <= set(summary["slide"])
    columns = (run.parent / "manifest.csv").read_text().splitlines()[0].split(",")
    assert set(re.findall(r"row\.(\w+)", text)) <= set(columns)
    assert all((run / name).exists() for name in re.findall(r"File\(\w+, '([\w.]+json)'\)", text))
