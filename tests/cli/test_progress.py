"""Where there is no terminal a line is printed now and then, and JSON is all that stands on stdout."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from wsi_idc.cli import progress
from wsi_idc.cli.group import main
from wsi_idc.cli.options import Sectioned
from wsi_idc.cli.progress import progress_bar

HERE = Path(__file__).parent


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def impatient(monkeypatch):
    for name, seconds in (("_EVERY_S", 0.3), ("_LEAST_S", 0.1), ("_TICK_S", 0.02)):
        monkeypatch.setattr(progress, name, seconds)


def test_a_task_that_takes_long_says_how_far_it_is(impatient, capsys):
    begun = time.monotonic()
    with progress_bar("reading", "patches") as bar:
        task = bar.add_task("", total=40)
        for _ in range(10):
            time.sleep(0.1)
            bar.advance(task, 4)
    lines = capsys.readouterr().err.splitlines()
    # A line every 0.3 s, or for a tenth 0.1 s after the last: a busy machine takes longer, and has more of them.
    assert 2 <= len(lines) <= (time.monotonic() - begun) / 0.1 - 1
    assert all(" reading: " in line and " of 40 patches (" in line for line in lines)
    done = [int(line.split(": ")[1].split()[0]) for line in lines]
    assert done == sorted(set(done))
    assert "left" in lines[0]


def test_a_task_that_is_stuck_says_so_and_a_hidden_one_nothing(impatient, capsys):
    begun, said = time.monotonic(), ""
    with progress_bar() as bar:
        bar.add_task("hidden", visible=False)
        bar.add_task("finding tissue")
        while said.count("\n") < 2:
            assert time.monotonic() < begun + 120
            time.sleep(0.1)
            said += capsys.readouterr().err
    lines = (said + capsys.readouterr().err).splitlines()
    assert 2 <= len(lines) <= (time.monotonic() - begun) / 0.3 + 1
    assert all(line.split(" ", 1)[1].startswith("finding tissue: ") and line.endswith(" so far") for line in lines)


def test_the_time_left_is_of_all_that_is_counted_whatever_its_steps_are_called(monkeypatch):
    clock = iter(range(100, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    task = progress._Task("loading", None, True)
    task.update(description="step 1", completed=1, total=5)
    begun = task.begun
    for number in (2, 3):
        task.update(description=f"step {number}", completed=number, total=5)
    line = progress._Lines("{task.description}", "")._line(task, begun + 30)
    # Two steps took 30 s, two are left: not those of the last step alone.
    assert line.endswith(" step 3: 3 of 5 (60%), 30 s left")
    task.update(description="again", completed=0)
    assert task.begun > begun and task.first == 0, "another count"


def test_what_ends_soon_says_nothing(capsys):
    with progress_bar() as bar:
        task = bar.add_task("quick", total=1000)
        for _ in range(1000):
            bar.advance(task)
        bar.remove_task(task)
    assert capsys.readouterr().err == ""


def commands(group, path=()):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def test_options_of_long_commands_are_in_sections():
    found = {path: c for path, c in commands(main) if isinstance(c, Sectioned)}
    assert {("segment",), ("train",), ("data", "from-annotations")} <= set(found)
    for path, command in found.items():
        shown = run(*path, "--help").stdout
        assert [line[:-1] for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")] == [
            *command.sections,
            "Other",
        ]
        named = [name for names in command.sections.values() for name in names]
        assert sorted(named) == sorted(p.name for p in command.params if isinstance(p, click.Option))
        assert all(shown.count(f"{p.opts[-1]} ") for p in command.params if isinstance(p, click.Option))


@pytest.fixture(scope="module")
def segmented(painted, tmp_path_factory):
    output = tmp_path_factory.mktemp("json")
    (output / "bad.svs").write_text("no slide")
    return output / "out", run("segment", painted, output / "bad.svs", "-o", output / "out", "--json")


def test_segment_as_json(segmented, painted):
    output, done = segmented
    assert done.exit_code == 1
    facts = json.loads(done.stdout)
    assert (facts["done"], facts["not_done"], facts["manifest"]) == (1, 1, str(output / "manifest.csv"))
    one, bad = facts["slides"]
    summary = json.loads((output / "painted" / "summary.json").read_text())
    assert (one["slide"], one["state"], one["folder"]) == (str(painted), "done", str(output / "painted"))
    assert all(one[key] == summary[key] for key in ("idc_mm2", "tissue_mm2", "foci", "warnings", "patches"))
    assert (bad["state"], bad["folder"]) == ("failed", None) and "not a slide" in bad["reason"]
    assert "error: " in done.stderr
    plan = json.loads(run("segment", painted, "-o", output, "--json", "--dry-run").stdout)
    assert [row["state"] for row in plan["slides"]] == ["done before"]
    assert set(plan["forecast"]) == {"engine", "patches_per_s", "seconds", "memory_bytes"}


def test_delineate_and_fields_as_json(segmented, tmp_path):
    run_folder = segmented[0] / "painted"
    facts = json.loads(run("delineate", run_folder, "-o", tmp_path / "again", "--json").stdout)
    assert facts == json.loads((tmp_path / "again" / "measurements.json").read_text()) | {
        "folder": str(tmp_path / "again")
    }
    chosen = json.loads(run("fields", run_folder, "-n", 3, "-o", tmp_path / "fields", "--json").stdout)
    assert [field["rank"] for field in chosen["fields"]] == list(range(1, len(chosen["fields"]) + 1))
    assert chosen["folder"] == str(tmp_path / "fields")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_completes(shell):
    script = run("completion", shell)
    assert script.exit_code == 0 and "_WSI_IDC_COMPLETE" in script.stdout
    typed = {"COMP_WORDS": "wsi-idc segment --mpp", "COMP_CWORD": "--mpp" if shell == "fish" else "2"}
    code = "import sys; sys.argv = ['wsi-idc']; from wsi_idc.cli import main; main()"
    environment = os.environ | typed | {"_WSI_IDC_COMPLETE": f"{shell}_complete"}
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, env=environment, capture_output=True, text=True)
    assert "--mpp-missing" in done.stdout, done.stderr


def test_interrupted_is_130(monkeypatch, painted, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("wsi_idc.runs.batch.segment_slides", interrupted)
    done = run("segment", painted, "-o", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (130, "interrupted\n")
