import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from filelock import FileLock
from PIL import Image

import wsi_idc
from wsi_idc.cli.group import main
from wsi_idc.demo.painter import paint_section
from wsi_idc.errors import DiskError, OutputError, SlideError
from wsi_idc.heatmap.store import read_grid, read_heatmap, read_label
from wsi_idc.inference.engines import OnnxEngine
from wsi_idc.inference.ensemble import Ensemble
from wsi_idc.inference.predictor import Predictor
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.runs.again import delineate_again
from wsi_idc.runs.results.folder import OUTPUTS
from wsi_idc.runs.run import Runner
from wsi_idc.slides.write import write_slide

from helpers import contents, summed_darkness, write_context_package


@pytest.fixture(scope="module")
def result(painted, tmp_path_factory):
    return wsi_idc.segment(painted, tmp_path_factory.mktemp("run"))


def test_leaves_the_contract_and_nothing_else(result):
    names = {p.name for p in result.folder.iterdir()}
    assert names == {*OUTPUTS, ".lock"}
    assert result.heatmap.is_dir()
    assert result.regions.is_file()
    assert result.overview.read_bytes().startswith(b"\x89PNG")
    assert result.summary == json.loads((result.folder / "summary.json").read_text())


def test_numbers_agree_with_each_other(result):
    summary = result.summary
    heatmap, provenance = read_heatmap(result.heatmap)
    features = json.loads(result.regions.read_text())["features"]
    threshold = summary["parameters"]["threshold"]
    measured = [f["properties"]["measurements"] for f in features]
    assert summary["state"] == "done"
    assert summary["foci"] == len(features) > 0
    assert summary["patches"] == np.isfinite(heatmap).sum()
    # A patch of which the centre is glass belongs to no region.
    assert 0.5 * (heatmap >= threshold).sum() < sum(m["Patches"] for m in measured) <= (heatmap >= threshold).sum()
    assert summary["idc_mm2"] == pytest.approx(sum(m["Area mm2"] for m in measured), abs=1e-3)
    assert summary["largest_extent_mm"] == pytest.approx(max(m["Largest diameter mm"] for m in measured), abs=1e-3)
    assert summary["idc_share"] == pytest.approx(summary["idc_mm2"] / summary["tissue_mm2"], abs=1e-3)
    assert provenance["slide_fingerprint"] == summary["slide"]["fingerprint"]
    assert provenance["model_sha256"] == summary["model"]["sha256"] == wsi_idc.find_model().sha256


def test_labels_match_regions_and_tissue(result):
    grid = fine_grid(read_grid(result.heatmap))
    idc, tissue = (read_label(result.heatmap, name) for name in ("idc", "tissue"))
    assert idc.shape == tissue.shape == grid.shape
    assert tissue.sum() * grid.patch_mm2 == pytest.approx(result.summary["tissue_mm2"], rel=0.05)
    assert (tissue[idc > 0] == 1).all()
    for number, feature in enumerate(json.loads(result.regions.read_text())["features"], 1):
        area = (idc == number).sum() * grid.patch_mm2
        # The raster loses up to half a pixel along the outline.
        rim = feature["properties"]["measurements"]["Perimeter mm"] * grid.patch_um / 1000
        assert feature["properties"]["measurements"]["Area mm2"] == pytest.approx(area, abs=rim)


def test_outlined_again_it_is_the_same_and_with_other_wishes_another(result, tmp_path):
    again = delineate_again(result.heatmap, tmp_path / "again")
    assert (tmp_path / "again" / "regions.geojson").read_bytes() == result.regions.read_bytes()
    numbers = json.loads((tmp_path / "again" / "measurements.json").read_text())
    assert numbers.pop("warnings") == result.summary["warnings"]
    assert set(numbers) - {"heatmap", "outlining", "bands"} <= set(result.summary)
    for name in set(numbers) - {"heatmap", "outlining", "bands"}:
        assert numbers[name] == result.summary[name], "the area of tissue too, which the heatmap keeps less finely"
    assert (tmp_path / "again" / "overview.png").read_bytes() == result.overview.read_bytes()
    shutil.copytree(result.heatmap, tmp_path / "alone" / "heatmap.zarr")
    delineate_again(tmp_path / "alone" / "heatmap.zarr", tmp_path / "lonely")
    assert (tmp_path / "lonely" / "regions.geojson").read_bytes() == result.regions.read_bytes()
    alone = json.loads((tmp_path / "lonely" / "measurements.json").read_text())
    assert alone["tissue_mm2"] == pytest.approx(numbers["tissue_mm2"], rel=0.05)
    with Image.open(tmp_path / "lonely" / "overview.png") as lonely, Image.open(result.overview) as before:
        assert lonely.size == before.size
    higher = delineate_again(result.heatmap, tmp_path / "higher", threshold=0.8, bands=(0.3, 0.6))
    assert sum(r.area_mm2 for r in higher.regions) < sum(r.area_mm2 for r in again.regions)
    features = json.loads((tmp_path / "higher" / "regions.geojson").read_text())["features"]
    classes = [f["properties"]["classification"]["name"] for f in features]
    assert classes == ["IDC"] * len(higher.regions) + ["IDC 0.3 to 0.6", "IDC 0.6 to 1"]
    with pytest.raises(OutputError, match="not empty"):
        delineate_again(result.heatmap, tmp_path / "again")


def test_outlines_that_hold_more_than_the_tissue_are_told(result, painted, tmp_path):
    """Along a probability of almost 0 they run up to half a pixel of 22 um beyond the tissue."""
    run = wsi_idc.segment(painted, tmp_path / "out", threshold=1e-9)
    done = CliRunner().invoke(
        main, ["delineate", str(result.folder), "-o", str(tmp_path / "again"), "--threshold", "1e-9"]
    )
    again = json.loads((tmp_path / "again" / "measurements.json").read_text())
    for numbers in (run.summary, again):
        assert numbers["idc_mm2"] > numbers["tissue_mm2"] and numbers["idc_share"] == 1
        (said,) = [w for w in numbers["warnings"] if "more than the" in w]
        assert f"hold {numbers['idc_mm2']:.4f} mm2" in said and "up to 11 um beyond" in said
    assert said in done.stderr and "more than the" in (run.folder / "report.html").read_text()
    assert not [w for w in result.summary["warnings"] if "more than the" in w]


def test_outlined_again_all_that_was_asked_of_the_run_holds(painted, tmp_path):
    """No focus is large enough, and there are bands: both are lost where only the threshold is taken from the run."""
    run = wsi_idc.segment(painted, tmp_path, threshold=0.5, low=0.3, min_area_mm2=50.0, smooth_um=20, bands=(0.3, 0.6))
    delineate_again(run.heatmap, tmp_path / "library")
    assert (tmp_path / "library" / "regions.geojson").read_bytes() == run.regions.read_bytes()
    done = CliRunner().invoke(main, ["delineate", str(run.heatmap), "-o", str(tmp_path / "command")])
    assert done.exit_code == 0, done.output
    for name in ("regions.geojson", "measurements.json", "overview.png"):
        assert (tmp_path / "command" / name).read_bytes() == (tmp_path / "library" / name).read_bytes()
    smaller = delineate_again(run.heatmap, tmp_path / "smaller", min_area_mm2=0)
    assert json.loads((tmp_path / "smaller" / "measurements.json").read_text())["outlining"]["low"] == 0.3
    assert len(smaller.regions) > run.summary["foci"]
    lower = CliRunner().invoke(main, ["delineate", str(run.heatmap), "-o", str(tmp_path / "x"), "--threshold", "0.2"])
    assert lower.exit_code == 2
    assert "low = 0.3: is above the threshold; give at most the threshold, 0.2" in lower.stderr


def test_the_same_bytes_again_whatever_the_chunks_and_threads(painted, result, tmp_path):
    package = wsi_idc.find_model()
    for workers in (1, 4):
        folder = tmp_path / str(workers)
        Runner(package, wsi_idc.Settings(threads=workers)).run(painted, folder)
        assert contents(folder) == contents(result.folder)
    folder = tmp_path / "small chunks"
    Runner(package, wsi_idc.Settings(chunk=3)).run(painted, folder)
    np.testing.assert_allclose(read_heatmap(folder / "heatmap.zarr")[0], read_heatmap(result.heatmap)[0], atol=1e-6)


def test_keras_engine_gives_the_same_regions(painted, result, tmp_path):
    other = wsi_idc.segment(painted, tmp_path, engine="keras")
    assert other.summary["model"]["engine"] == "keras"
    np.testing.assert_allclose(read_heatmap(other.heatmap)[0], read_heatmap(result.heatmap)[0], atol=1e-4)


def test_same_run_is_reused_and_another_is_refused(painted, result, tmp_path):
    shutil.copytree(result.folder, tmp_path / "painted")
    before = contents(tmp_path / "painted")

    def times():
        # Locking may touch the lock: some versions of filelock do.
        return {p: p.stat().st_mtime_ns for p in (tmp_path / "painted").iterdir() if p.name != ".lock"}

    written = times()
    assert wsi_idc.segment(painted, tmp_path).reused
    with pytest.raises(OutputError, match="holds another run"):
        wsi_idc.segment(painted, tmp_path, threshold=0.9)
    assert times() == written
    assert contents(tmp_path / "painted") == before
    (tmp_path / "painted" / "notes.txt").write_text("mine")
    again = wsi_idc.segment(painted, tmp_path, threshold=0.9, overwrite=True)
    assert not again.reused
    assert again.summary["parameters"]["threshold"] == 0.9
    assert (tmp_path / "painted" / "notes.txt").read_text() == "mine", "--overwrite replaces results, nothing else"
    assert not list((tmp_path / "painted").glob("*.old"))


def test_a_folder_of_something_else_is_refused(painted, tmp_path):
    (tmp_path / "painted").mkdir()
    (tmp_path / "painted" / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="something else"):
        wsi_idc.segment(painted, tmp_path)
    assert [p.name for p in (tmp_path / "painted").iterdir()] == ["thesis.txt"]


def test_half_a_run_is_done_again(painted, result, tmp_path):
    """What a killed process leaves: results without summary.json, or a partial folder."""
    (tmp_path / "painted" / ".partial" / "heatmap.zarr").mkdir(parents=True)
    (tmp_path / "painted" / ".lock").touch()
    assert contents(wsi_idc.segment(painted, tmp_path).folder) == contents(result.folder)


@pytest.mark.parametrize("moved", range(len(OUTPUTS)))
def test_killed_while_putting_its_outputs_in_place(painted, result, tmp_path, moved):
    """Whatever was in place already, the next run finishes it rather than refusing or computing again."""
    folder = tmp_path / "painted"
    shutil.copytree(result.folder, folder)
    before = contents(folder)
    (folder / ".partial").mkdir()
    for name in OUTPUTS[moved:]:
        (folder / name).rename(folder / ".partial" / name)
    again = wsi_idc.segment(painted, tmp_path)
    assert again.reused
    assert contents(folder) == before
    assert not (folder / ".partial").exists()


def test_killed_while_replacing_an_older_run(painted, result, tmp_path):
    folder = tmp_path / "painted"
    older = wsi_idc.segment(painted, tmp_path, threshold=0.9).folder
    shutil.copytree(result.folder, folder / ".partial")
    (folder / "heatmap.zarr").rename(folder / ".partial" / "heatmap.zarr.old")
    (folder / ".partial" / "heatmap.zarr").rename(folder / "heatmap.zarr")
    assert wsi_idc.segment(painted, tmp_path).reused, "the new run was whole, and half of it in place"
    assert contents(older) == contents(result.folder)


def test_two_slides_never_share_the_ids_of_their_regions(painted, result, tmp_path):
    """Equal outlines on two slides: the ids tell them apart when both are imported."""
    other = tmp_path / "other.tif"
    other.write_bytes(painted.read_bytes() + b"\0")
    features = [json.loads(r.regions.read_text())["features"] for r in (result, wsi_idc.segment(other, tmp_path))]
    assert [f["geometry"] for f in features[0]] == [f["geometry"] for f in features[1]]
    assert not {f["id"] for f in features[0]} & {f["id"] for f in features[1]}


def test_a_scale_that_contradicts_the_file_is_warned_of(painted, tmp_path):
    warnings = wsi_idc.segment(painted, tmp_path, mpp=2.0).summary["warnings"]
    assert warnings[0] == "the file states 4 um/px (TIFF resolution tags), but --mpp 2 was used"


def test_nothing_of_it_reaches_for_the_network_or_the_home(painted, tmp_path):
    """ONNX Runtime queues telemetry in the home and sends it, unless told not to."""
    (tmp_path / "home").mkdir()
    code = f"import wsi_idc; wsi_idc.segment({str(painted)!r}, {str(tmp_path / 'out')!r})"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    environment["HOME"] = str(tmp_path / "home")
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, env=environment)
    left = [p for p in (tmp_path / "home").rglob("*") if p.is_file() and "matplotlib" not in str(p)]
    assert left == []


def test_a_folder_in_use_is_refused(painted, tmp_path):
    (tmp_path / "painted").mkdir()
    with FileLock(tmp_path / "painted" / ".lock"), pytest.raises(OutputError, match="another wsi-idc"):
        wsi_idc.segment(painted, tmp_path)


def test_a_slide_coarser_than_the_model_is_refused(section, tmp_path):
    slide = write_slide(tmp_path / "coarse.tif", section.pixels, 4.5, downsamples=(1,))
    with pytest.raises(SlideError, match=r"coarser than the 4 um/px"):
        wsi_idc.segment(slide, tmp_path / "out")
    assert not (tmp_path / "out" / "coarse").exists()
    assert wsi_idc.segment(slide, tmp_path / "out", mpp=4.39).summary["slide"]["mpp"]["source"] == "--mpp"


def test_no_space_left(painted, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("wsi_idc.runs.steps.draw_overview", full)
    with pytest.raises(DiskError, match="painted: no space left on the disk at /"):
        wsi_idc.segment(painted, tmp_path)
    assert [p.name for p in (tmp_path / "painted").iterdir() if p.is_dir()] == [".unfinished"], "what was computed"


def test_a_model_at_40x_walks_all_of_level_0(tmp_path):
    """50x50 patches of 0.25 um/px: 12.5 um a side, each cut from level 0 as it is."""
    model = Path(shutil.copytree(wsi_idc.find_model("idc-patch").folder, tmp_path / "model"))
    facts = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(facts | {"mpp": 0.25, "name": "at-40x"}))
    section = paint_section(1.0, 1.0, 0.5, seed=2)
    pixels = section.pixels[600:1600:, 400:1350]
    slide = write_slide(tmp_path / "40x.tif", pixels, 0.25, downsamples=(1, 4), compression="deflate")
    result = wsi_idc.segment(slide, tmp_path / "out", model=model, min_tissue=0.5)
    heatmap, _ = read_heatmap(result.heatmap)
    assert heatmap.shape == (20, 19)
    assert result.summary["patch_mm2"] == pytest.approx(0.0125**2)
    tiles = pixels.reshape(20, 50, 19, 50, 3).swapaxes(1, 2)
    computed = np.isfinite(heatmap)
    assert computed.sum() > 20
    package = wsi_idc.find_model(model)
    expected = Predictor(package, OnnxEngine(package)).patches(tiles[computed])
    np.testing.assert_allclose(heatmap[computed], expected, atol=1e-6)


def test_a_model_that_sees_neighbours_through_the_whole_run(painted, section, tmp_path):
    """The same heatmap whatever the chunks: no seam where a neighbour lies in another chunk."""
    model = write_context_package(tmp_path / "model")
    heatmaps = []
    for chunk in (2, 5, 16):
        folder = tmp_path / str(chunk)
        Runner(model, wsi_idc.Settings(chunk=chunk)).run(painted, folder)
        heatmaps.append(read_heatmap(folder / "heatmap.zarr")[0])
    present = np.isfinite(heatmaps[0])
    np.testing.assert_allclose(heatmaps[0], summed_darkness(section.pixels, present), atol=1e-5)
    for other in heatmaps[1:]:
        np.testing.assert_allclose(other, heatmaps[0], atol=1e-6)


def test_augmented_it_is_the_mean_of_eight_looks(painted, section, tmp_path):
    """The same as turning the whole section, with the neighbours where they then are."""
    package = wsi_idc.find_model()
    result = Runner(package, wsi_idc.Settings(tta=True, chunk=5)).run(painted, tmp_path / "out")
    heatmap, _ = read_heatmap(result.heatmap)
    rows, cols = heatmap.shape
    canvas = np.full((rows * 50, cols * 50, 3), 255, np.uint8)
    canvas[: section.pixels.shape[0], : section.pixels.shape[1]] = section.pixels
    ensemble = Ensemble([Predictor(package, OnnxEngine(package))], tta=True)
    expected = ensemble.look(canvas, np.isfinite(heatmap)).probability
    np.testing.assert_allclose(heatmap, expected, atol=2e-5)
    assert result.summary["parameters"]["tta"]


def test_segment_does_not_import_tensorflow(painted, tmp_path):
    code = (
        f"import sys, wsi_idc; wsi_idc.segment({str(painted)!r}, {str(tmp_path)!r}); "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False).returncode == 0
