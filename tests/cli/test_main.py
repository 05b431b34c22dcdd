import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from wsi_idc.cli.group import main
from wsi_idc.models.registry import SHIPPED, find_model

from helpers import HEAVY, UNLIKE


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def patch(tmp_path, section):
    path = tmp_path / "patch.png"
    Image.fromarray(section.pixels[200:250, 300:350]).save(path)
    return path


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from wsi_idc.cli.group import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: sys.exit(repr(sorted({HEAVY!r} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert "segment" in done.stdout
    assert done.stderr.strip() == "[]"


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "wsi_idc", "--version"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "0." in done.stdout


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
    assert totals.startswith("1 slides to do, 0 done before, 0 with errors")
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


def test_a_damaged_model_is_one_line_and_a_traceback_with_debug(painted, tmp_path):
    shutil.copytree(SHIPPED / "idc-patch", tmp_path / "model")
    (tmp_path / "model" / "encoder.onnx").write_bytes(b"damaged")
    arguments = ["segment", painted, "-o", tmp_path / "out", "--model", tmp_path / "model"]
    done = run(*arguments)
    assert done.exit_code == 1
    assert "sha256" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert run("--debug", *arguments).exception.__class__.__name__ == "ModelError"


def test_info_as_table_and_json(painted):
    table, facts = run("info", painted), json.loads(run("info", painted, "--json").stdout)
    assert table.exit_code == 0
    assert "4 x 4 um/px, from TIFF resolution tags" in table.stdout
    assert facts["mpp"] == {
        "x": pytest.approx(4),
        "y": pytest.approx(4),
        "source": "TIFF resolution tags",
        "estimated": False,
    }
    assert (facts["width"], facts["height"], len(facts["levels"])) == (750, 600, 2)


def test_info_of_a_slide_without_scale_prints_the_rest(tmp_path, section):
    import tifffile

    tifffile.imwrite(tmp_path / "bare.tif", section.pixels, photometric="rgb", metadata=None)
    done = run("info", tmp_path / "bare.tif", "--json")
    assert done.exit_code == 1
    facts = json.loads(done.stdout)
    assert (facts["width"], facts["mpp"], facts["levels"][0]["mpp"]) == (750, None, None)
    assert "scale" in facts["scale_problem"]
    assert facts["scale_problem"] in done.stderr
    assert "scale       not known" in run("info", tmp_path / "bare.tif").stdout
    assert run("info", tmp_path / "bare.tif", "--mpp", "4").exit_code == 0


def test_debug_shows_why_a_slide_failed(tmp_path):
    (tmp_path / "x.svs").write_text("no")
    command = [sys.executable, "-m", "wsi_idc", "--debug", "segment", tmp_path / "x.svs", "-o", tmp_path / "out"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_info_of_no_slide(tmp_path):
    (tmp_path / "x.svs").write_text("no")
    done = run("info", tmp_path / "x.svs")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'x.svs'}: not a slide")


def test_predict_in_three_forms(patch):
    rows = json.loads(run("predict", patch, "--json").stdout)
    assert rows == [
        {
            "image": str(patch),
            "probability": rows[0]["max_probability"],
            "max_probability": rows[0]["max_probability"],
            "idc": rows[0]["probability"] >= find_model().threshold,
            "patches": 1,
            "mpp": None,
        }
    ]
    (row,) = csv.DictReader(io.StringIO(run("predict", patch, "--csv").stdout))
    assert float(row["probability"]) == rows[0]["probability"]
    assert f"{rows[0]['probability']:.4f}" in run("predict", patch).stdout


def test_predict_cuts_larger_images_and_reports_unreadable_ones(tmp_path, section):
    pixels = section.pixels[200:320, 300:390]
    Image.fromarray(pixels).save(tmp_path / "large.png")
    padded = np.full((150, 100, 3), 255, np.uint8)
    padded[:120, :90] = pixels
    names = []
    for r in range(3):
        for c in range(2):
            names.append(tmp_path / f"{r}{c}.png")
            Image.fromarray(padded[r * 50 : r * 50 + 50, c * 50 : c * 50 + 50]).save(names[-1])
    (tmp_path / "text.png").write_text("text")
    images = (tmp_path / "large.png", *names, tmp_path / "text.png", tmp_path / "gone.png")
    done = run("predict", "--json", "--model", "idc-patch", *images)
    assert done.exit_code == 1
    large, *parts = json.loads(done.stdout)
    # 120 x 90 pixels: the third row of patches is covered by 20 of 50 pixels only, and does not count.
    assert large["patches"] == 4
    assert large["probability"] == pytest.approx(np.mean([p["probability"] for p in parts[:4]]), abs=1e-5)
    assert large["max_probability"] == max(p["probability"] for p in parts[:4])
    note, *errors = done.stderr.splitlines()
    assert note == f"note: {tmp_path / 'large.png'} of several patches without a scale: pixels count as 4 um"
    assert [line.split(": ")[2] for line in errors] == [
        "not an image that Pillow can read",
        "no such file",
    ]


@pytest.mark.parametrize("size", [(51, 51), (51, 50), (50, 74), (60, 60)])
def test_a_sliver_beyond_a_patch_does_not_change_its_probability(tmp_path, section, size):
    whole = section.pixels[200:300, 300:400]
    for name, (height, width) in {"patch": (50, 50), "more": size}.items():
        Image.fromarray(whole[:height, :width]).save(tmp_path / f"{name}.png")
    patch, more = json.loads(run("predict", "--json", tmp_path / "patch.png", tmp_path / "more.png").stdout)
    assert more == patch | {"image": more["image"]}


def test_transparent_pixels_are_white_and_grey_images_refused(tmp_path, section):
    pixels = section.pixels[200:250, 300:350].copy()
    alpha = np.full((50, 50, 1), 255, np.uint8)
    alpha[25:] = 0
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(tmp_path / "clear.png")
    pixels[25:] = 255
    Image.fromarray(pixels).save(tmp_path / "white.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    names = ("clear", "white", "grey", "grey16")
    done = run("predict", "--json", *(tmp_path / f"{n}.png" for n in names))
    clear, white = json.loads(done.stdout)
    assert clear["probability"] == white["probability"]
    assert [line.endswith("not 8-bit colour; export it as RGB") for line in done.stderr.splitlines()] == [True, True]


def test_models_list_and_show():
    assert "idc-patch" in run("models", "list").stdout
    assert json.loads(run("models", "list", "--json").stdout)[0]["mpp"] == 4.0
    assert json.loads(run("models", "show", "idc-patch", "--json").stdout)["halo"] == 0
    assert run("models", "show", "nothing").exit_code == 2
    card = (SHIPPED / "idc-context" / "MODEL_CARD.md").read_text()
    assert run("models", "show", "idc-context").stdout.endswith(f"\n\n{card.rstrip()}\n")


def test_models_are_added_to_ones_own(tmp_path, monkeypatch, patch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("wsi_idc.models.registry.user_models", lambda: tmp_path / "data" / "models")
    source = tmp_path / "downloads" / "v2"
    shutil.copytree(SHIPPED / "idc-patch", source)
    facts = json.loads((source / "model.json").read_text())
    (source / "notes.txt").write_text("mine")
    shown = run("models", "add", source)
    assert shown.exit_code == 1 and "a model of that name ships; --overwrite hides it by this one" in shown.stderr
    (source / "model.json").write_text(json.dumps(facts | {"name": "mine"}))
    added = run("models", "add", source)
    place = tmp_path / "data" / "models" / "mine"
    assert (added.exit_code, added.stdout) == (0, f"{place}: --model mine\n"), added.output
    assert {p.name for p in place.iterdir()} == {p.name for p in source.iterdir()} - {"notes.txt"}
    assert run("predict", patch, "--model", "mine").exit_code == 0
    again = run("models", "add", source)
    assert again.exit_code == 1 and "is there already; choose another name or give --overwrite" in again.stderr
    assert run("models", "add", source, "--overwrite").exit_code == 0
    (source / "encoder.onnx").write_bytes(b"damaged")
    broken = run("models", "add", source, "--overwrite")
    assert broken.exit_code == 1 and "its sha256 is not the one" in broken.stderr
    assert run("predict", patch, "--model", "mine").exit_code == 0, "what was there is still whole"
    assert [p.name for p in place.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize("text", ["a: [1\n b: }", "only text", "\xff: \x00"])
def test_a_broken_dask_configuration_is_one_line(tmp_path, text):
    """In a process of its own: Dask reads it when it is imported."""
    (tmp_path / "dask.yaml").write_bytes(text.encode("latin1"))
    code = "import sys; from wsi_idc.cli.group import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "segment", str(tmp_path / "dask.yaml"), "-o", str(tmp_path / "out")],
        env=os.environ | {"DASK_CONFIG": str(tmp_path / "dask.yaml")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: the configuration of Dask cannot be read [^\n]*DASK_CONFIG[^\n]*\n", done.stderr)


@pytest.fixture
def two_scans(tmp_path, section):
    """A file of two scans and a label, the label first."""
    import tifffile

    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(section.pixels[:60, :90], photometric="rgb", description="Label", metadata=None)
        for pixels in (section.pixels, section.pixels[:400]):
            options = {"resolution": (2500, 2500), "resolutionunit": 3, "metadata": None}
            tiff.write(pixels, photometric="rgb", tile=(128, 128), compression="deflate", **options)
    return path


def test_info_lists_the_images_of_a_file(two_scans):
    done = run("info", two_scans)
    assert done.exit_code == 0
    assert re.search(r"^image +width +height +um/px +what", done.stdout, re.MULTILINE)
    for line in (r"^0 +90 +60 .* label", r"^1 +750 +600 +4 +slide", r"^2 +750 +400 +4 +scan", r"^warning: .*--series"):
        assert re.search(line, done.stdout, re.MULTILINE), line
    assert "750 x 400 px" in run("info", two_scans, "--series", "2").stdout


def test_info_of_a_folder_prints_the_rule(two_scans):
    done = run("info", two_scans.parent)
    assert done.exit_code == 0
    assert str(two_scans) in done.stdout and "1 found; slides are files that end in" in done.stdout


def test_segment_takes_each_scan_of_a_file(two_scans, tmp_path):
    done = run("segment", two_scans, "--series", "all", "--dry-run", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "2 slides to do" in done.stdout
    assert run("segment", two_scans, "--series", "first").exit_code == 2


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


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupt_before_a_command_is_loaded_is_no_traceback():
    code = (
        "import os, sys, signal, wsi_idc.cli as cli\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'wsi_idc.cli.group': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder()); sys.argv = ['wsi-idc', 'segment']\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


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
