"""Outlines say of which slide they are, and are refused on another one."""

import json
import shutil

import numpy as np
import pytest

import wsi_idc
from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.read import read_annotations
from wsi_idc.annotations.write import write_annotations
from wsi_idc.api.conversion import convert_annotations
from wsi_idc.data.cut import cut_patches
from wsi_idc.errors import DataError, SlideError
from wsi_idc.runs.again import delineate_again
from wsi_idc.slides.write import write_slide

from helpers import box


@pytest.fixture(scope="module")
def run(painted, tmp_path_factory):
    return wsi_idc.segment(painted, tmp_path_factory.mktemp("origin"))


@pytest.fixture(scope="module")
def other(section, tmp_path_factory):
    """Another patient's slide of the same size."""
    path = tmp_path_factory.mktemp("other") / "other.tif"
    return write_slide(path, np.ascontiguousarray(section.pixels[:, ::-1]), section.mpp)


def test_regions_say_of_which_slide_and_by_which_model_they_are(run, tmp_path):
    said = json.loads(run.regions.read_text())["wsi_idc"]
    assert said["slide"] == "painted.tif" and said["model"] == run.summary["model"]["name"]
    identity = run.summary["identity"]
    assert said["slide_fingerprint"] == identity["slide_fingerprint"]
    assert (said["model_sha256"], said["parameters"]) == (identity["model_sha256"], identity["parameters"])
    delineate_again(run.heatmap, tmp_path / "again", threshold=0.6)
    assert read_annotations(tmp_path / "again" / "regions.geojson").origin["parameters"]["threshold"] == 0.6


def test_what_is_damaged_there_says_nothing(tmp_path):
    for said in ("x", {}, {"slide_fingerprint": 3}, None):
        (tmp_path / "one.geojson").write_text(
            json.dumps({"type": "FeatureCollection", "features": [], "wsi_idc": said})
        )
        assert read_annotations(tmp_path / "one.geojson").origin == {}


def test_a_file_that_states_another_slide_is_refused_everywhere(run, painted, other, tmp_path):
    # Away from its run, and converted: the file alone says it.
    drawn = tmp_path / "drawn.geojson.gz"
    convert_annotations(run.regions, drawn)
    line = r"other\.tif: is not the slide that .*drawn\.geojson\.gz was drawn on \(painted\.tif\); give"
    with pytest.raises(SlideError, match=line):
        convert_annotations(drawn, tmp_path / "out.geojson", slide=other)
    with pytest.raises(SlideError, match=line):
        cut_patches(other, drawn, tmp_path / "patches", wsi_idc.find_model())
    assert convert_annotations(drawn, tmp_path / "out.geojson", slide=painted).classes["IDC"] > 0
    theirs = wsi_idc.segment(other, tmp_path / "theirs")
    line = r"drawn\.geojson\.gz: is of another slide \(painted\.tif\) than .*other \(other\.tif\); compare"
    with pytest.raises(DataError, match=line):
        wsi_idc.compare(drawn, theirs.folder)
    copied = shutil.copy(theirs.regions, tmp_path / "theirs.geojson")
    with pytest.raises(DataError, match="is of another slide"):
        wsi_idc.compare(copied, drawn, mpp=4.0)
    assert wsi_idc.compare(drawn, run.folder)["slides"][0]["dice"] == 1
    # On the grid of the heatmap of another slide, given as the run or as the heatmap in it.
    line = r": is of another slide \(painted\.tif\) than .* \(other\.tif\); give --like the run of that slide"
    for outlines in (drawn, run.folder, run.regions):
        for like in (theirs.folder, theirs.heatmap):
            with pytest.raises(DataError, match=line):
                convert_annotations(outlines, tmp_path / "labels.zarr", like=like)
    assert not (tmp_path / "labels.zarr").exists()
    assert convert_annotations(drawn, tmp_path / "labels.zarr", like=run.folder).classes["IDC"] > 0
    # What says nothing is taken as before.
    write_annotations(tmp_path / "plain.geojson", [box(0, 0, 300, 300, name="IDC")])
    assert wsi_idc.compare(tmp_path / "plain.geojson", theirs.folder)["slides"]
    assert convert_annotations(tmp_path / "plain.geojson", tmp_path / "plain.zarr", like=theirs.folder).classes
    assert isinstance(read_annotations(tmp_path / "plain.geojson").annotations[0], Annotation)
