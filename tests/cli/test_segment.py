"""`wsi-idc segment`: what it prints, what it refuses, and what it does without writing."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsi_idc.cli.group import main

from helpers import UNLIKE


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_segment_prints_what_was_found_and_where(painted, tmp_path):
    done = run("segment", painted, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "painted.tif: IDC " in done.stdout
    assert str(tmp_path / "out" / "painted") in done.stdout
    assert done.stderr == f"painted.tif: {UNLIKE}\n", "no progress bar where there is no terminal"
    again = run("segment", painted, "-o", tmp_path / "out")
    assert "(as before)" in again.stdout


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals of its own")
def test_on_a_terminal_bars_show_how_far_it_is(painted, tmp_path):
    ours, theirs = os.openpty()
    folder = tmp_path / "slides"
    folder.mkdir()
    for name in ("a.tif", "b.tif"):
        shutil.copy(painted, folder / name)
    command = [sys.executable, "-m", "wsi_idc", "segment", folder, "-o", tmp_path / "out"]
    wide = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, stderr=theirs, env=wide)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal that nobody holds any more, on Linux
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    printed, _ = done.communicate()
    assert done.returncode == 0
    assert b"2 of 2 slides done" in printed
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "[1/2] a.tif" in text and "[2/2] b.tif" in text
    patches = json.loads((tmp_path / "out" / "a" / "summary.json").read_text())["patches"]
    assert re.search(rf"\b\d+/{patches}\b", text)


def test_segment_exit_status_when_some_slides_fail(painted, tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    shutil.copy(painted, folder / "b.tif")
    (folder / "a.svs").write_text("not a slide")
    done = run("segment", folder, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {folder / 'a.svs'}: ")
    assert done.stderr.splitlines()[1:] == [f"b.tif: {UNLIKE}"]
    assert "1 of 2 slides done" in done.stdout
    assert (tmp_path / "out" / "b" / "summary.json").is_file()


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(painted, tmp_path):
    folder, out = tmp_path / "slides" / "below", tmp_path / "out"
    folder.mkdir(parents=True)
    shutil.copy(painted, folder / "b.tif")
    plan = run("segment", folder.parent, "--recursive", "-o", out, "--dry-run")
    assert plan.exit_code == 0, plan.output
    head, row, totals, time, memory = plan.stdout.splitlines()
    assert head.split("  ")[0] == "slide"
    assert not out.exists()
    assert run("segment", folder / "b.tif", "-o", out).exit_code == 0
    summary = json.loads((out / "b" / "summary.json").read_text())
    assert row.split() == [
        str(folder / "b.tif"),
        f"{summary['tissue_mm2']:.2f}",
        str(summary["patches"]),
        "to",
        "do",
    ]
    assert totals.startswith("1 slide to do, 0 done before, 0 with errors")
    assert time.startswith("forecast: ")
    assert "/s that onnx was just measured to compute here" in time
    assert "GiB of memory" in memory
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    (folder.parent / "list.txt").write_text("# slides\nbelow/b.tif\nbad.svs\n")
    (folder.parent / "bad.svs").write_text("not a slide")
    again = run("segment", "--list", folder.parent / "list.txt", "-o", out, "--dry-run")
    assert again.exit_code == 1
    assert [line.split("  ")[-1].strip()[:18] for line in again.stdout.splitlines()[1:3]] == [
        "done before",
        "error: not a slide",
    ]
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before


def test_lists_and_no_slides_are_wrong_usage(tmp_path):
    assert "give slides" in (none := run("segment", "-o", tmp_path / "out")).stderr
    missing = run("segment", "--list", tmp_path / "gone.txt", "-o", tmp_path / "out")
    assert none.exit_code == missing.exit_code == 2
    assert (
        missing.stderr
        == f"Error: {tmp_path / 'gone.txt'}: the list of slides cannot be read (No such file or directory)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "--workers"),
        (["--time-limit", "0"], "--time-limit"),
        (["--retries", "-1"], "--retries"),
        (["--threshold", "1.5"], "--threshold"),
        (["--mpp", "100"], "--mpp"),
        (["--model", "nothing"], "no model 'nothing'"),
        (["--engine", "abacus"], "--engine"),
        (["--min-tissue", "0"], "--min-tissue"),
        (["--threshold", "nan"], "--threshold"),
        (["--min-area", "inf"], "--min-area"),
        (["--smooth", "nan"], "--smooth"),
        (["--bands", "0.5,0.3"], "--bands"),
        (["--low", "0.6", "--threshold", "0.5"], "low = 0.6: is above the threshold"),
        (["--low", "0.99"], "low = 0.99: is above the threshold"),
        (["--stride", "30"], "stride = 30: does not divide"),
        (["--mpp", "1", "--mpp-missing", "1"], "mpp holds for all slides already; give one of the two"),
    ],
)
def test_wrong_usage(painted, tmp_path, arguments, message):
    done = run("segment", painted, "-o", tmp_path / "out", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_settings_of_a_file_which_the_command_line_wins_over(painted, tmp_path):
    printed = run("segment", "--print-config")
    assert printed.exit_code == 0
    file = tmp_path / "settings.toml"
    file.write_text(printed.stdout)
    assert run("segment", "--print-config", "--config", file).stdout == printed.stdout
    file.write_text("threshold = 0.4\nmin_area_mm2 = 0.2\ntta = true\nchunk = 8\n")
    arguments = ["--config", file, "--threshold", "0.6", "--no-tta"]
    shown = run("segment", "--print-config", *arguments).stdout.splitlines()
    assert {"threshold = 0.6", "min_area_mm2 = 0.2", "tta = false", "chunk = 8"} <= set(shown)
    assert run("segment", painted, "-o", tmp_path / "out", *arguments).exit_code == 0
    parameters = json.loads((tmp_path / "out" / "painted" / "summary.json").read_text())["parameters"]
    assert (parameters["threshold"], parameters["min_area_mm2"], parameters["tta"]) == (0.6, 0.2, False)
    file.write_text("treshold = 0.4\n")
    wrong = run("segment", painted, "-o", tmp_path / "other", "--config", file)
    assert wrong.exit_code == 2
    assert f"{file}: no setting 'treshold'; there are threshold," in wrong.stderr
    assert not (tmp_path / "other").exists()


def test_an_empty_folder_is_wrong_usage_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    done = run("segment", tmp_path / "empty", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "no slides there" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_of_a_folder_only_slides_without_a_scale_get_the_one_that_is_given(painted, tmp_path, section):
    import tifffile

    folder, out = tmp_path / "slides", tmp_path / "out"
    folder.mkdir()
    shutil.copy(painted, folder / "stated.tif")
    tifffile.imwrite(folder / "bare.tif", section.pixels, photometric="rgb", metadata=None)
    assert run("segment", folder, "-o", out, "--mpp-missing", "4").exit_code == 0
    bare, stated = (json.loads((out / name / "summary.json").read_text()) for name in ("bare", "stated"))
    assert (bare["slide"]["mpp"]["source"], bare["parameters"]["mpp"]) == ("--mpp-missing", 4)
    assert (stated["slide"]["mpp"]["source"], stated["parameters"]["mpp"]) == ("TIFF resolution tags", None)
    again = run("segment", folder / "bare.tif", "-o", out, "--mpp", "4")
    assert again.exit_code == 0 and "(as before)" in again.stdout, "it is the same run, however the scale came"


def test_an_empty_name_and_an_output_that_is_a_file_are_refused_at_once(painted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("segment", "", "-o", "out")
    assert done.exit_code == 2 and "an empty name among the slides" in done.stderr
    Path("file").write_text("kept")
    done = run("segment", painted, "-o", "file")
    assert (
        done.exit_code == 1
        and done.stderr == "error: file: is a file, not a folder for results; choose another -o or move it away\n"
    )
    assert Path("file").read_text() == "kept" and [p.name for p in tmp_path.iterdir()] == ["file"]
