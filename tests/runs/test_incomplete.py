"""Runs that could not compute all of a slide: what is lost is said, and tried again."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

import wsi_idc
from wsi_idc.cli.group import main
from wsi_idc.errors import SlideError
from wsi_idc.heatmap.store import read_heatmap
from wsi_idc.runs.manifest import Manifest
from wsi_idc.runs.run import Runner
from wsi_idc.slides.write import write_slide

from helpers import no_number_between, write_onnx_package


def test_an_undecodable_tile_costs_its_chunk_and_is_reported(damaged, tmp_path):
    result = Runner(wsi_idc.find_model(), wsi_idc.Settings(chunk=4)).run(damaged, tmp_path / "out")
    summary = result.summary
    assert summary["state"] == "incomplete"
    assert summary["failed_chunks"]
    assert "cannot be decoded" in summary["failed_chunks"][0]["reason"]
    heatmap, _ = read_heatmap(result.heatmap)
    for chunk in summary["failed_chunks"]:
        assert np.isnan(heatmap[slice(*chunk["rows"]), slice(*chunk["columns"])]).any()
    assert np.isfinite(heatmap).sum() == summary["patches"] > 0
    # The tile covers 256 pixels: 6 x 6 patches, a few more where it cuts through some.
    assert 20 <= sum(chunk["patches"] for chunk in summary["failed_chunks"]) <= 49
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert 'class="conclusion">Incomplete: ' in page and "patches were not computed (" in page
    assert 'data-layer="failed"' in page


def test_an_incomplete_slide_is_named_and_why(damaged, tmp_path):
    """Of a hundred slides `status` said that one was incomplete, not which."""
    out = tmp_path / "out"
    done = CliRunner().invoke(main, ["segment", str(damaged), "-o", str(out)])
    assert done.exit_code == 1 and done.stdout.startswith("damaged.tif: incomplete, IDC ")
    with (out / "manifest.csv").open(encoding="utf-8") as table:
        (row,) = csv.DictReader(table)
    lost = sum(chunk["patches"] for chunk in wsi_idc.show(out / "damaged").summary["failed_chunks"])
    assert row["reason"].startswith(f"{lost} patches not computed (") and "cannot be decoded" in row["reason"]
    told = CliRunner().invoke(main, ["status", str(out)]).stdout
    assert f"incomplete: {damaged.resolve()}: {row['reason']}" in told.splitlines()
    assert CliRunner().invoke(main, ["verify", str(out)]).exit_code == 0
    # As a version wrote it that did not say why.
    Manifest(out / "manifest.csv").update({**row, "reason": ""})
    assert CliRunner().invoke(main, ["verify", str(out)]).exit_code == 0


def test_outlined_again_what_is_doubtful_of_the_run_is_told(damaged, tmp_path):
    """Numbers of a part of a slide, or of one unlike those of training, looked like those of any other."""
    run = Runner(wsi_idc.find_model(), wsi_idc.Settings(chunk=4)).run(damaged, tmp_path / "out")
    again = tmp_path / "again"
    done = CliRunner().invoke(main, ["delineate", str(run.folder), "-o", str(again), "--threshold", "0.4"])
    assert done.exit_code == 0, done.output
    told = json.loads((again / "measurements.json").read_text())["warnings"]
    chunks = run.summary["failed_chunks"]
    assert [w.partition(" ")[0] for w in told[: len(chunks)]] == [str(chunk["patches"]) for chunk in chunks]
    assert all("not computed (" in warning for warning in told[: len(chunks)])
    assert told[len(chunks) :] == run.summary["warnings"] != []
    assert all(f"{run.folder}: {warning}" in done.stderr.splitlines() for warning in told)


def test_of_a_heatmap_alone_it_is_not_known_what_was_doubtful(painted, tmp_path):
    run = wsi_idc.segment(painted, tmp_path / "out")
    run.heatmap.rename(tmp_path / "heatmap.zarr")
    wsi_idc.delineate(tmp_path / "heatmap.zarr", tmp_path / "again")
    (said,) = json.loads((tmp_path / "again" / "measurements.json").read_text())["warnings"]
    assert "not known" in said


def test_an_incomplete_run_is_done_again(damaged, tmp_path):
    out = tmp_path / "out"
    assert wsi_idc.segment(damaged, out).summary["state"] == "incomplete"
    again = wsi_idc.segment(damaged, out)
    assert not again.reused
    assert again.summary["state"] == "incomplete"


@pytest.mark.parametrize("stride", [None, 25])
def test_a_model_that_gives_no_number_for_some_patches_leaves_the_run_incomplete(painted, tmp_path, stride):
    package = write_onnx_package(tmp_path / "model", {"encoder": no_number_between(0.7, 0.75)})
    summary = wsi_idc.segment(painted, tmp_path, model=package.folder, stride=stride).summary
    assert summary["state"] == "incomplete"
    lost = sum(chunk["patches"] for chunk in summary["failed_chunks"])
    assert lost > 3
    assert f"the model gives no number for {lost} patches, which count as no tissue" in summary["warnings"]
    again = wsi_idc.segment(painted, tmp_path, model=package.folder, stride=stride)
    assert not again.reused
    assert again.summary["failed_chunks"] == summary["failed_chunks"]


def test_a_model_that_gives_no_number_for_a_slide_is_an_error(tmp_path):
    pixels = np.full((600, 600, 3), 242, np.uint8)
    pixels[100:300, 100:300] = (200, 120, 170)
    path = write_slide(tmp_path / "plain.tif", pixels, 4.0, compression="deflate")
    package = write_onnx_package(tmp_path / "model", {"encoder": no_number_between(0.62, 0.655)})
    with pytest.raises(SlideError, match=r"plain.tif: no patch of it can be computed \(the model gives no number"):
        wsi_idc.segment(path, tmp_path / "out", model=package.folder, min_tissue=0.5)
