"""A run as SpatialData, read back by SpatialData itself where that is installed."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner

import wsi_idc
from wsi_idc.cli.group import main
from wsi_idc.errors import DataError, FormatError, MissingExtraError, SettingsError

installed = pytest.mark.skipif(
    importlib.util.find_spec("spatialdata") is None, reason="the extra spatialdata is not installed"
)


@pytest.fixture(scope="module")
def run(painted, tmp_path_factory) -> Path:
    return wsi_idc.segment(painted, tmp_path_factory.mktemp("spatial")).folder


@installed
def test_all_of_a_run_lies_in_one_frame_of_micrometres(run, section, tmp_path):
    import spatialdata

    done = CliRunner().invoke(main, ["convert", str(run), str(tmp_path / "run.zarr"), "--as", "spatialdata"])
    assert done.exit_code == 0, done.output
    assert " annotation" in done.stdout and not done.stderr.strip()
    store = spatialdata.read_zarr(tmp_path / "run.zarr")
    assert {*store.images, *store.labels, *store.shapes} == {"he", "idc_probability", "idc", "tissue", "regions"}
    height, width = np.array(section.labels.shape) * section.mpp
    for name in ("he", "tissue"):
        extent = spatialdata.get_extent(store[name])
        assert extent["x"] == pytest.approx((0, width), abs=25) and extent["y"] == pytest.approx((0, height), abs=25)
    heatmap, provenance = wsi_idc.read_heatmap(run / "heatmap.zarr")
    assert np.array_equal(store["idc_probability"].to_numpy()[0], heatmap, equal_nan=True)
    assert store.attrs["wsi_idc"]["model"] == provenance["model"]
    regions = spatialdata.transform(store["regions"], to_coordinate_system="global")
    summary = json.loads((run / "summary.json").read_text())
    idc = regions[regions["class"] == "IDC"]
    assert idc.geometry.area.sum() / 1e6 == pytest.approx(summary["idc_mm2"], rel=1e-3)
    values = store["idc"].to_numpy()
    extent = spatialdata.get_extent(store["idc"])
    um = (extent["x"][1] - extent["x"][0]) / values.shape[1]
    x, y = ((np.arange(n) + 0.5) * um for n in values.shape[::-1])
    at = np.meshgrid(x, y)
    assert (shapely.contains_xy(shapely.union_all(idc.geometry), *at) == (values > 0)).mean() > 0.995


@installed
def test_without_the_slide_the_store_says_what_it_lacks(run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "passed-on" / "painted")
    done = wsi_idc.convert(moved, tmp_path / "run.zarr", form="spatialdata")
    assert done.notes == ["its slide was not found, so that the store has no image of it; say where it is with --slide"]


def test_the_way_to_the_extra_is_told(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[spatialdata\]"'):
        wsi_idc.convert(run, tmp_path / "run.zarr", form="spatialdata")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_meant_is_refused(run, tmp_path):
    with pytest.raises(FormatError, match=r"ends in \.zarr"):
        wsi_idc.convert(run, tmp_path / "run.h5", form="spatialdata")
    with pytest.raises(DataError, match="not the folder of a run"):
        wsi_idc.convert(run / "regions.geojson", tmp_path / "run.zarr", form="spatialdata")
    with pytest.raises(SettingsError, match="leave out classes"):
        wsi_idc.convert(run, tmp_path / "run.zarr", form="spatialdata", classes={"IDC": "Tumor"})
