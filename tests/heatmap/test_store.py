import numpy as np
import pytest
import zarr
from ome_zarr_models.v05.image import Image
from ome_zarr_models.v05.labels import Labels

from wsi_idc.base.grid import Grid
from wsi_idc.errors import DataError
from wsi_idc.heatmap.store import read_heatmap, read_label, write_heatmap

from helpers import provenance

GRID = Grid((2220, 2967), (0.5, 0.5), 50, 4.0)


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "heatmap.zarr"
    values = np.full(GRID.shape, np.nan, np.float32)
    values[1:3, 2:5] = np.arange(6, dtype=np.float32).reshape(2, 3) / 6
    labels = {"idc": np.eye(*GRID.shape, dtype=np.uint32), "tissue": np.ones(GRID.shape, np.uint8)}
    write_heatmap(path, values, GRID, labels, GRID, provenance(GRID))
    return path


def test_store_is_valid_ome_zarr(store):
    image = Image.from_zarr(zarr.open_group(store, mode="r"))
    assert [a.name for a in image.attributes.ome.multiscales[0].axes] == ["y", "x"]
    labels = Labels.from_zarr(zarr.open_group(store / "labels", mode="r"))
    assert sorted(labels.attributes.ome.labels) == ["idc", "tissue"]
    for name in ("idc", "tissue"):
        label = zarr.open_group(store / "labels" / name, mode="r")
        Image.from_zarr(label)
        assert label["0"].shape == GRID.shape
        assert np.issubdtype(label["0"].dtype, np.unsignedinteger)


def test_transformations_are_in_micrometres_to_the_centre_of_a_patch(store):
    image = zarr.open_group(store, mode="r").attrs["ome"]["multiscales"][0]
    assert {a["unit"] for a in image["axes"]} == {"micrometer"}
    scale, translation = image["datasets"][0]["coordinateTransformations"]
    assert scale == {"type": "scale", "scale": [200.0, 200.0]}
    assert translation == {"type": "translation", "translation": [100.0, 100.0]}


def test_reads_back_what_was_written_and_nan_elsewhere(store):
    values, facts = read_heatmap(store)
    assert values.shape == GRID.shape == (8, 6)
    np.testing.assert_array_equal(values[1:3, 2:5], np.arange(6, dtype=np.float32).reshape(2, 3) / 6)
    assert np.isnan(values).sum() == values.size - 6
    assert facts == provenance(GRID)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="not a heatmap"):
        read_heatmap(tmp_path)
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    with pytest.raises(DataError, match=r"other\.zarr"):
        read_heatmap(tmp_path / "other.zarr")


def test_a_flipped_bit_is_an_error(tmp_path):
    """Each bit of a chunk of probabilities, and of one of labels: the chunk cannot be read, or says what it said."""
    grid = Grid((1000, 800), (4.0, 4.0), 50, 4.0)
    wrong = np.random.default_rng(0).random(grid.shape, np.float32)
    label = (wrong > 0.5).astype(np.uint8)
    write_heatmap(tmp_path / "heatmap.zarr", wrong, grid, {"idc": label}, grid, provenance(grid))
    seen = unseen = 0
    for chunk, read in (
        ("0/c/0/0", lambda: read_heatmap(tmp_path / "heatmap.zarr")[0]),
        ("labels/idc/0/c/0/0", lambda: read_label(tmp_path / "heatmap.zarr", "idc")),
    ):
        file = tmp_path / "heatmap.zarr" / chunk
        content, before = file.read_bytes(), read()
        for bit in range(0, 8 * len(content), max(1, len(content) // 40)):
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            try:
                np.testing.assert_array_equal(read(), before)
                unseen += 1
            except DataError:
                seen += 1
    assert seen > 100
    assert unseen < seen / 50
