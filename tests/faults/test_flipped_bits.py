"""A bit that a disk or a copy flips, in whatever file of an output folder, is found and its file is named."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import wsi_idc
from wsi_idc.cli.group import main
from wsi_idc.errors import OutputError
from wsi_idc.runs.batch import segment_slides
from wsi_idc.runs.results.folder import SUMMED, holding, replace_output
from wsi_idc.runs.results.sums import has_sums, is_sealed, sums_of
from wsi_idc.runs.upkeep.verify import BUSY, DAMAGED, NO_SUMS, WHOLE, verify

NO_RESULTS = (".lock", ".manifest.lock", ".manifest.sum", "log.jsonl")


@pytest.fixture(scope="module")
def whole(painted, tmp_path_factory):
    """The output folder of a run of two slides, of which one cannot be read."""
    folder = tmp_path_factory.mktemp("verified")
    (folder / "bad.svs").write_text("not a slide")
    slides = [Path(shutil.copy(painted, folder / "painted.tif")), folder / "bad.svs"]
    segment_slides(slides, folder / "out", wsi_idc.find_model("idc-patch"), wsi_idc.Settings())
    return folder / "out"


@pytest.fixture
def out(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "out"))


def flip(file, bit):
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def test_whole_results_are_whole(out):
    found = verify(out)
    assert found.whole
    assert [(run.folder, run.state, run.extra) for run in found.runs] == [(out / "painted", WHOLE, [])]
    assert verify(out / "painted").whole
    done = CliRunner().invoke(main, ["verify", str(out)])
    assert (done.exit_code, done.stderr) == (0, "")
    assert ["whole", "1"] in [line.split() for line in done.stdout.splitlines()]


def test_a_flipped_bit_is_found_in_every_file(out):
    rng = random.Random(0)
    files = [p for p in sorted(out.rglob("*")) if p.is_file() and p.name not in NO_RESULTS]
    assert len(files) > 12
    for file in files:
        before, size = file.read_bytes(), file.stat().st_size
        for bit in rng.sample(range(8 * size), 10 if size < 20_000 else 3):
            flip(file, bit)
            found = verify(out)
            faults = found.faults + [fault for run in found.runs for fault in run.faults]
            assert not found.whole, (file, bit)
            assert any(str(file) in fault for fault in faults), (file, bit, faults)
            assert len(faults) <= 2
            file.write_bytes(before)
    assert verify(out).whole


def test_every_bit_of_the_summary_counts(out):
    """Also those that change nothing of what is parsed, as 1e-05 and 1E-05."""
    file = out / "painted" / "summary.json"
    before = file.read_bytes()
    assert is_sealed(before, json.loads(before))
    parsed = 0
    for byte in range(len(before)):
        content = bytearray(before)
        content[byte] ^= 1 << byte % 8 if byte % 3 else 32
        try:
            found = json.loads(content)
        except ValueError:
            continue
        parsed += 1
        assert isinstance(found, dict) and not (has_sums(found) and is_sealed(content, found)), byte
    assert parsed > 1000


def test_what_is_missing_or_cut_short(out):
    (out / "painted" / "thumbnail.jpg").unlink()
    (run,) = verify(out).runs
    assert run.faults == [f"{out / 'painted' / 'thumbnail.jpg'}: is missing"]
    done = CliRunner().invoke(main, ["verify", str(out), "--json"])
    facts = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (facts["whole"], facts["runs"][0]["state"], facts["runs"][0]["faults"]) == (False, DAMAGED, run.faults)
    shutil.rmtree(out / "painted" / "heatmap.zarr")
    (out / "painted" / "summary.json").write_bytes(b"")
    (run,) = verify(out).runs
    assert run.faults == [f"{out / 'painted' / 'summary.json'}: is not as it was written"]
    shutil.rmtree(out / "painted")
    (run,) = verify(out).runs
    assert run.faults == [f"{out / 'painted' / 'summary.json'}: is missing"], "the manifest says that it is done"


def test_a_row_that_is_not_what_the_summary_says(out):
    """Whoever changed the table wrote its sum too, as an older run on a copy does."""
    manifest = out / "manifest.csv"
    area = json.loads((out / "painted" / "summary.json").read_text())["idc_mm2"]
    manifest.write_text(manifest.read_text().replace(str(area), str(area + 1)))
    (out / ".manifest.sum").unlink()
    (run,) = verify(out).runs
    assert run.faults == [f"{manifest}: idc_mm2 of painted: not as in its summary.json"]


def test_what_else_lies_there_is_named_and_no_fault(out):
    (out / "painted" / "notes.txt").write_text("mine")
    (out / "painted" / ".unfinished").mkdir()
    (run,) = verify(out).runs
    assert (run.state, run.extra) == (WHOLE, [".unfinished", "notes.txt"])
    assert "notes.txt" in CliRunner().invoke(main, ["verify", str(out)]).stdout


def test_results_of_an_older_version_have_no_sums(out):
    file = out / "painted" / "summary.json"
    summary = json.loads(file.read_text())
    del summary["sum"], summary["sums"]
    file.write_text(json.dumps(summary))
    assert verify(out).runs[0].state == DAMAGED, "this version has them"
    summary["result_format"] = 2
    file.write_text(json.dumps(summary))
    assert (verify(out).runs[0].state, verify(out).whole) == (NO_SUMS, True)
    done = CliRunner().invoke(main, ["verify", str(out)])
    assert (done.exit_code, "made by an older version" in done.stdout) == (0, True)


def test_a_slide_at_work_is_left_alone(out):
    from wsi_idc.base.files import locked

    with locked(out / "painted"):
        assert verify(out).runs[0].state == BUSY


def test_names_in_a_summary_lead_nowhere(out):
    """The sums name files; only those of the results are opened, whatever they name."""
    assert not any(name.startswith(("/", "..")) for name in sums_of(out / "painted", SUMMED))
    file = out / "painted" / "summary.json"
    summary = json.loads(file.read_text())
    summary["sums"]["/dev/zero"] = "0" * 64
    file.write_text(json.dumps(summary, indent=2) + "\n")
    assert not verify(out).whole


def test_a_folder_without_runs_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "gone"):
        done = CliRunner().invoke(main, ["verify", str(folder)])
        assert done.exit_code == 1
        assert len(done.stderr.splitlines()) == 1


def test_a_report_that_is_written_anew_has_its_sum(out):
    """As `fields` does. What was damaged before stays known as such."""
    run = out / "painted"
    replace_output(run, "report.html", "another page")
    assert ((run / "report.html").read_text(), verify(out).whole) == ("another page", True)
    flip(run / "report.html", 8)
    replace_output(run, "report.html", "a third page")
    assert verify(out).runs[0].faults == [f"{run / 'report.html'}: is not as it was written"]
    flip(run / "summary.json", 80)
    before = (run / "summary.json").read_bytes()
    with pytest.raises(OutputError, match=r"summary\.json"):
        replace_output(run, "report.html", "a fourth page")
    assert ((run / "report.html").read_text(), (run / "summary.json").read_bytes()) == ("a third page", before)


@pytest.mark.parametrize("names", range(1, 5))
def test_killed_while_a_report_is_written_anew(out, names):
    """At each name that is given: the report and its sum are both the old ones or both the new ones in the end."""
    code = (
        "import os, sys; from pathlib import Path; from wsi_idc.runs.results.folder import replace_output\n"
        "left, real = int(sys.argv[2]), Path.replace\n"
        "def replace(self, target):\n    global left\n    left -= 1\n"
        "    return real(self, target) if left else os.kill(os.getpid(), 9)\n"
        "Path.replace = replace\n"
        "replace_output(Path(sys.argv[1]), 'report.html', 'another page')"
    )
    run = out / "painted"
    command = [sys.executable, "-c", code, run, str(names)]
    assert subprocess.run(command, cwd=Path(__file__).parent, check=False).returncode in (-9, 0)
    with holding(run):
        pass
    assert verify(out).whole
