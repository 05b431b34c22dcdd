import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import wsi_idc
from wsi_idc.errors import DataError, SettingsError, SlideError
from wsi_idc.runs.again import delineate_again
from wsi_idc.slides.write import write_slide
from wsi_idc.viewer.shelf import opened
from wsi_idc.viewer.tiles import TILE


@pytest.fixture(scope="module")
def run(painted, tmp_path_factory):
    return wsi_idc.segment(painted, tmp_path_factory.mktemp("viewed")).folder


def test_tiles_are_the_pixels_of_the_slide(run, painted):
    with opened(run) as found, wsi_idc.Slide(painted) as slide:
        assert found.size == slide.size
        width, height = slide.size
        across, down = -(-width // TILE), -(-height // TILE)
        whole = np.zeros((down * TILE, across * TILE, 3), int)
        for row, column in np.ndindex(down, across):
            tile = Image.open(io.BytesIO(found.tile(found.levels, column, row)))
            whole[row * TILE :, column * TILE :][:TILE, :TILE] = np.asarray(tile)
        pixels = slide.read(0, 0, width, height, slide.mpp.x).astype(int)
        # As JPEG.
        assert np.abs(whole[:height, :width] - pixels).mean() < 6
        small = Image.open(io.BytesIO(found.tile(0, 0, 0)))
        assert small.size == (TILE, TILE) and max(found.size) / 2**found.levels <= TILE
        for place in ((0, 1, 0), (found.levels, across, 0), (found.levels + 1, 0, 0), (-1, 0, 0), (0, -1, 0)):
            with pytest.raises(IndexError):
                found.tile(*place)


def test_another_threshold_gives_what_delineate_gives(run, tmp_path):
    with opened(run) as found:
        for threshold in (0.1, found.outlining.peak, 0.7):
            shown = found.regions(threshold)
            again = delineate_again(run / "heatmap.zarr", tmp_path / f"{threshold}", threshold=threshold)
            numbers = json.loads((tmp_path / f"{threshold}" / "measurements.json").read_text())
            assert {name: numbers[name] for name in shown["numbers"]} == shown["numbers"]
            assert [r["area_mm2"] for r in shown["regions"]] == [round(r.area_mm2, 4) for r in again.regions]
            assert len(shown["slivers"]) == len(again.slivers)
        with pytest.raises(SettingsError):
            found.regions(1.5)


def test_the_probability_of_a_place(run):
    heatmap, provenance = wsi_idc.read_heatmap(run / "heatmap.zarr")
    row, column = np.argwhere(np.isfinite(heatmap))[0]
    um = provenance["patch_um"]
    with opened(run) as found:
        at = (np.array([column, row]) + 0.5) * um / found.slide.mpp.x
        assert found.probability(*at) == pytest.approx(heatmap[row, column], abs=5e-4)
        assert found.probability(-5, 3) is None and found.probability(1e9, 3) is None


def test_what_cannot_be_decoded_is_no_tile(run, monkeypatch):
    with opened(run) as found:

        def broken(*_):
            raise SlideError("broken")

        monkeypatch.setattr(found.slide, "read", broken)
        assert found.tile(0, 0, 0) == b""


def test_another_slide_is_refused(run, tmp_path):
    other = write_slide(tmp_path / "other.tif", np.full((300, 400, 3), 200, np.uint8), 4.0)
    with pytest.raises(SlideError, match=r"is not the slide that .* was made from"), opened(run, other):
        pass
    with pytest.raises(DataError, match=r"no summary\.json"), opened(tmp_path):
        pass
    moved = shutil.copytree(run, tmp_path / "moved")
    with pytest.raises(SlideError, match="give its place with --slide"), opened(moved):
        pass
