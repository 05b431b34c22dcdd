"""log.jsonl: whole lines, of all runs, in the order in which things happened."""

import json
import subprocess
import sys

import wsi_idc
from wsi_idc.runs.log import NAME, RunLog


def lines(output):
    return [json.loads(line) for line in (output / NAME).read_text().splitlines()]


def test_a_run_and_the_same_again_are_told(painted, tmp_path):
    (tmp_path / "bad.svs").write_text("no slide")
    slides = [painted, tmp_path / "bad.svs"]
    wsi_idc.segment_slides(slides, tmp_path / "out", model="idc-patch")
    first = lines(tmp_path / "out")
    assert [line["stage"] for line in first if "slide" not in line] == ["run begun", "run ended"]
    own = [line for line in first if line.get("slide") == str(painted)]
    assert [line["stage"] for line in own] == ["begun", "tissue found", *["warning"] * (len(own) - 3), "done"]
    summary = json.loads((tmp_path / "out" / "painted" / "summary.json").read_text())
    assert [line["warning"] for line in own if line["stage"] == "warning"] == summary["warnings"]
    assert own[1]["patches"] == summary["patches"] and own[-1]["seconds"] == summary["timings"]
    (failed,) = (line for line in first if line["stage"] == "failed")
    assert failed["slide"] == str(tmp_path / "bad.svs") and "not a slide" in failed["warning"]
    assert first[-1] | {"time": ""} == {"time": "", "stage": "run ended", "done": 1, "failed": 1}
    assert [line["time"] for line in first] == sorted(line["time"] for line in first)
    wsi_idc.segment(painted, tmp_path / "out", model="idc-patch")
    again = lines(tmp_path / "out")
    assert again[: len(first)] == first
    assert again[-2]["stage"] == "done before"


def test_lines_of_several_processes_are_whole(tmp_path):
    code = (
        "import sys; from pathlib import Path; from wsi_idc.runs.log import RunLog\n"
        "log = RunLog(Path(sys.argv[1]))\nfor n in range(300): log.write('begun', sys.argv[2] * 200, number=n)"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "abc"]
    assert [process.wait() for process in started] == [0, 0, 0]
    found = lines(tmp_path)
    for name in "abc":
        assert [line["number"] for line in found if line["slide"] == name * 200] == list(range(300))


def test_a_log_that_cannot_be_written_is_no_reason_to_fail(tmp_path, caplog):
    (tmp_path / NAME).mkdir()
    log = RunLog(tmp_path)
    log.write("begun", "a")
    log.write("done", "a")
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
