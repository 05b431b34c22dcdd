"""Annotations as pixels, and the patches of a run as annotations."""

import json

import numpy as np
import pytest
import shapely
import zarr
from hypothesis import example, given, settings
from ome_zarr_models.v05.image import Image
from ome_zarr_models.v05.labels import Labels
from shapely import box

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.raster import centres_inside
from wsi_idc.annotations.write import write_labels, write_tiles
from wsi_idc.base.grid import Grid
from wsi_idc.errors import DataError, OutputError
from wsi_idc.heatmap.store import write_heatmap

from annotations.test_write import HOLED, check_rules, drawn
from helpers import provenance


@pytest.fixture
def heatmap(tmp_path):
    """Patches of 400.8 level-0 pixels over a slide that ends within the last column, four of them computed."""
    grid = Grid((1500, 1202), (0.499, 0.499), 50, 4.0)
    values = np.full(grid.shape, np.nan, np.float32)
    values[0, 0], values[0, 1], values[1, 1], values[2, 3] = 0.5, 0.2, 0.123456789, 0.9
    path = tmp_path / "run" / "heatmap.zarr"
    path.parent.mkdir()
    write_heatmap(path, values, grid, {}, grid, provenance(grid))
    return path


def test_tiles_are_the_computed_patches_in_whole_pixels(tmp_path, heatmap):
    path = tmp_path / "tiles.geojson"
    assert write_tiles(path, heatmap) == 4
    check_rules(path.read_bytes(), "tile")
    tiles = json.loads(path.read_bytes())["features"]
    # Of 200 um at 0.499 um/px: 400.80 px, so borders at 0, 401, 802, 1202 and the slide's end at 1500.
    bounds = [shapely.geometry.shape(t["geometry"]).bounds for t in tiles]
    assert bounds == [(0, 0, 401, 401), (401, 0, 802, 401), (401, 401, 802, 802), (1202, 802, 1500, 1202)]
    assert [t["properties"]["measurements"]["Probability"] for t in tiles] == [0.5, 0.2, 0.123457, 0.9]
    names = [t["properties"].get("classification", {}).get("name") for t in tiles]
    assert names == ["IDC", None, None, "IDC"], "at the threshold and above"
    again = tmp_path / "again.geojson"
    write_tiles(again, heatmap.parent)
    assert again.read_bytes() == path.read_bytes()


def test_tiles_need_a_heatmap_and_geojson(tmp_path, heatmap):
    with pytest.raises(DataError, match=r"tiles\.gpkg: tiles are written as GeoJSON"):
        write_tiles(tmp_path / "tiles.gpkg", heatmap)
    with pytest.raises(DataError, match="not a heatmap"):
        write_tiles(tmp_path / "tiles.geojson", tmp_path)


def test_labels_number_the_patches_by_their_centre(tmp_path, heatmap):
    path = tmp_path / "labels.zarr"
    annotations = [
        # From within the first patch, off its centre at 200.4, to the middle of the fourth row of none.
        Annotation(box(150, 150, 650, 250), "IDC"),
        Annotation(box(10, 10, 50, 50), "IDC"),
        Annotation(box(0, 0, 1500, 1202)),
        Annotation(box(700, 500, 1100, 700), "IDC"),
    ]
    notes = write_labels(path, annotations, heatmap)
    assert notes == ["annotation 2: holds no centre of a patch, not in the labels"]
    group = zarr.open_group(path, mode="r")
    Image.from_zarr(group)
    assert sorted(Labels.from_zarr(group["labels"]).attributes.ome.labels) == ["IDC", "unclassified"]
    expected = np.zeros((3, 4))
    # Centres lie at 200.4, 601.2, 1002.0 and 1402.8.
    expected[0, :2], expected[1, 2] = 1, 4
    np.testing.assert_array_equal(group["labels/IDC/0"][:], expected)
    np.testing.assert_array_equal(group["labels/unclassified/0"][:], np.full((3, 4), 3))
    source = group["labels/IDC"].attrs["ome"]["image-label"]["source"]["image"]
    assert (path / "labels/IDC" / source).resolve() == path.resolve()
    with pytest.raises(OutputError, match="is not empty"):
        write_labels(path, annotations, heatmap)


@pytest.mark.parametrize("name", ["a/b", "..", "__c", "a:b"])
def test_labels_refuse_classes_that_cannot_be_folders(tmp_path, heatmap, name):
    with pytest.raises(DataError, match="cannot name a folder"):
        write_labels(tmp_path / "labels.zarr", [Annotation(HOLED, name)], heatmap)
    assert not (tmp_path / "labels.zarr").exists()


@settings(max_examples=50)
@given(drawn)
@example(box(-50, 5, -10, 20))
@example(box(5, 90, 20, 200))
def test_pixels_inside_are_those_whose_centres_lie_inside(geometry):
    painted = np.zeros((10, 12), bool)
    around, inside = centres_inside(geometry, (7.0, 8.0), painted.shape)
    painted[around] = inside
    rows, cols = np.indices(painted.shape)
    np.testing.assert_array_equal(painted, shapely.contains_xy(geometry, (cols + 0.5) * 7, (rows + 0.5) * 8))
