"""What napari shows of a run lies where it is on the slide; with napari itself where that is installed."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import shapely

import wsi_idc
from wsi_idc.api.napari_reader import get_reader


@pytest.fixture(scope="module")
def run(painted, tmp_path_factory) -> Path:
    return wsi_idc.segment(painted, tmp_path_factory.mktemp("seen")).folder


@pytest.fixture(scope="module")
def layers(run):
    path = str(run / "heatmap.zarr")
    return {shown["name"]: (data, shown, kind) for data, shown, kind in get_reader(path)(path)}


def world(data, shown):
    """Where the centres of the pixels of an image lie, (h, w, 2) in um, by napari's rule."""
    rows, cols = np.indices(data.shape[:2])
    return np.stack([rows, cols], -1) * shown["scale"] + shown["translate"]


def test_a_run_is_five_layers_in_micrometres(layers, painted):
    assert [(name, kind) for name, (_, _, kind) in layers.items()] == [
        (painted.name, "image"),
        ("IDC probability", "image"),
        ("tissue", "labels"),
        ("IDC", "labels"),
        ("IDC regions", "shapes"),
    ]
    assert {shown["units"] for _, shown, _ in layers.values()} == {("micrometer", "micrometer")}


def test_all_layers_begin_at_the_corner_of_the_slide_and_end_at_its_end(layers, section):
    extent = np.array(section.labels.shape) * section.mpp
    for name in (n for n in layers if n != "IDC regions"):
        data, shown, _ = layers[name]
        scale = np.array(shown["scale"])
        assert np.allclose(np.array(shown["translate"]) - scale / 2, 0)
        assert (np.abs(np.array(data.shape[:2]) * scale - extent) <= scale).all()


def test_heat_labels_and_regions_lie_on_each_other(layers):
    heat, idc = layers["IDC probability"], layers["IDC"]
    rings = [shapely.Polygon(ring[:, ::-1]) for ring in layers["IDC regions"][0]]
    filled = shapely.union_all(rings)
    at = world(*idc[:2])
    inside = shapely.contains_xy(filled, at[..., 1], at[..., 0])
    # But for holes and for what rounding to pixels of the slide moves.
    assert (inside == (idc[0] > 0)).mean() > 0.995
    # In the middle of a patch the outline follows its own probability.
    level = heat[1]["metadata"]["wsi_idc"]["parameters"]["threshold"]
    outlined = idc[0][tuple(np.floor(world(*heat[:2]) / idc[1]["scale"]).astype(int).transpose(2, 0, 1))] > 0
    assert outlined.sum() > 15
    assert (heat[0][outlined] >= level).all()


def test_a_heatmap_alone_has_neither_slide_nor_regions(run, tmp_path):
    alone = shutil.copytree(run / "heatmap.zarr", tmp_path / "of-a-friend-heatmap.zarr")
    found = get_reader(str(alone))(str(alone))
    assert [(kind, shown["name"]) for _, shown, kind in found] == [
        ("image", "IDC probability"),
        ("labels", "tissue"),
        ("labels", "IDC"),
    ]
    assert found[-1][1]["visible"]


def test_anything_else_is_left_to_other_readers(tmp_path, painted):
    (tmp_path / "heatmap.zarr").mkdir()
    assert get_reader(str(tmp_path / "heatmap.zarr")) is None
    assert get_reader(str(painted)) is None
    assert get_reader([str(painted), str(painted)]) is None


@pytest.mark.skipif(importlib.util.find_spec("napari") is None, reason="napari is not installed")
def test_napari_opens_it_by_name_with_its_plugin(run, section):
    from napari.components import ViewerModel
    from npe2 import PluginManager

    # As a window does when it opens.
    PluginManager.instance().discover()
    viewer = ViewerModel()
    viewer.open(str(run / "heatmap.zarr"), plugin="wsi-idc")
    assert [layer.name for layer in viewer.layers][1:] == ["IDC probability", "tissue", "IDC", "IDC regions"]
    heat, labels = viewer.layers["IDC probability"], viewer.layers["IDC"]
    # Both begin at the corner of the slide: half a pixel before the centre of the first.
    for layer in (heat, labels):
        assert np.allclose(layer.extent.world[0] - np.array(layer.scale) / 2, 0)
    assert heat.get_value(heat.data_to_world((3, 4)), world=True) == pytest.approx(heat.data[3, 4], nan_ok=True)
    assert str(heat.units[0]) == "micrometer"
