"""What a kill leaves beside results is gone after the next run, and `status --clean` removes what no run will want."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import wsi_idc
from wsi_idc.base.files import HOLDER, locked
from wsi_idc.cli.group import main
from wsi_idc.runs.manifest import Manifest
from wsi_idc.runs.results.folder import OUTPUTS, remove_unfinished
from wsi_idc.runs.upkeep.clean import clean
from wsi_idc.runs.upkeep.status import read_status

from helpers import contents, write_patches

# Runs a slide and kills itself once its results are in place.
KILLED_LATE = """
import os, sys
import wsi_idc
from wsi_idc.runs.results import folder

folder.remove_unfinished = lambda _: os.kill(os.getpid(), 9)
wsi_idc.segment(sys.argv[1], sys.argv[2], model="idc-patch")
"""
# Kills itself where it would first give what it wrote its name.
KILLED_BEFORE = """
import os, sys
from pathlib import Path

from wsi_idc.base.disk.folders import new_folder
from wsi_idc.base.files import replacing
from wsi_idc.data.assemble import assemble
from wsi_idc.demo import demo
from wsi_idc.demo.painter import paint_section
from wsi_idc.viewer.desk import Desk

place = Path(sys.argv[1])
if len(sys.argv) > 2:
    Path.replace = Path.rename = lambda *_: os.kill(os.getpid(), 9)
"""
# Beyond the numbers that processes have on Linux.
DEAD = 2**22 + 1
WHOLE = {*OUTPUTS, ".lock"}
# What is killed, and what is there once it is not.
WRITERS = {
    "with replacing(place / 'a.json') as new: new.write_text('whole')": {"a.json"},
    "with new_folder(place / 'a') as new: (new / 'a.json').write_text('whole')": {"a"},
    "demo._write(place / 'a.tif', paint_section(1.0, 1.0, 4.0, seed=0), False)": {"a.tif"},
    "assemble(Path('patches'), '8865', place)": {"8865.tif"},
    "Desk().begin(place, 'one').save('one', 'somebody')": {*WHOLE, "regions-edited.geojson"},
}


@pytest.fixture(scope="module")
def killed_late(painted, tmp_path_factory):
    """The output folder of a run that was killed between putting its results in place and tidying up."""
    out = tmp_path_factory.mktemp("late") / "out"
    command = [sys.executable, "-c", KILLED_LATE, painted, out]
    assert subprocess.run(command, cwd=Path(__file__).parent, check=False).returncode == -signal.SIGKILL
    assert {p.name for p in (out / "painted").iterdir()} == {*WHOLE, ".unfinished", ".holder"}
    return out


@pytest.fixture
def out(killed_late, tmp_path):
    return Path(shutil.copytree(killed_late, tmp_path / "out"))


def states(out):
    return [row["state"] for row in Manifest(out / "manifest.csv").read().values()]


def noted(out, **changes):
    """Make what is unfinished that of another run."""
    note = out / "painted" / ".unfinished" / "identity.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | changes))


def test_the_next_run_leaves_nothing_of_it(painted, out):
    before = contents(out / "painted")
    left = out / f".{platform.node()[-12:]}-{DEAD}-manifest.csv"
    left.touch()
    assert wsi_idc.segment(painted, out, model="idc-patch").reused
    assert {p.name for p in (out / "painted").iterdir()} == WHOLE
    assert not left.exists()
    changed = {name for name, content in contents(out / "painted").items() if before[name] != content}
    assert changed <= {".lock"}


def test_status_knows_that_it_is_done_and_clean_writes_that_down(out):
    assert states(out) == ["running"]
    found = read_status(out)
    assert (found.done, found.remaining, found.interrupted) == (1, 0, 0)
    assert states(out) == ["running"], "looking changes nothing"
    size = sum(p.stat().st_size for p in (out / "painted" / ".unfinished").rglob("*") if p.is_file())
    done = CliRunner().invoke(main, ["status", str(out), "--clean", "--json"])
    facts = json.loads(done.stdout)
    by_name = {Path(gone["path"]).name: gone for gone in facts["removed"]}
    assert (by_name[".unfinished"]["bytes"], by_name[".unfinished"]["why"]) == (size, "its slide is done")
    assert set(by_name) == {".unfinished", ".holder"}
    assert {p.name for p in (out / "painted").iterdir()} == WHOLE
    assert states(out) == ["done"]
    again = CliRunner().invoke(main, ["status", str(out), "--clean"])
    assert "removed 0 B in all" in again.stdout


def test_what_is_wanted_or_in_use_stays(out):
    (out / "painted" / "summary.json").unlink()
    assert [gone.path.name for gone in clean(out)[0]] == [".holder"], "the run can go on from there"
    with locked(out / "painted"):
        noted(out, wsi_idc="0.0")
        assert clean(out) == ([], [out / "painted"])
    assert (out / "painted" / ".unfinished").exists()
    (gone,) = clean(out)[0]
    assert gone.path == out / "painted" / ".unfinished"
    assert gone.why.startswith("of version 0.0, and this is ")


def test_another_model_or_settings_since(painted, out):
    (out / "painted" / "summary.json").unlink()
    other = Path(shutil.copy(painted, out.parent / "other.tif"))
    wsi_idc.segment(other, out, model="idc-patch", mpp=4.0)
    assert [gone.path.name for gone in clean(out)[0]] == [".holder"], "the scale is one of a slide"
    wsi_idc.segment(other, out, model="idc-patch", threshold=0.9, overwrite=True)
    (gone,) = clean(out)[0]
    assert "other settings" in gone.why


def test_what_an_overwriting_run_has_begun_stays(out):
    noted(out, model_sha256="0" * 64)
    os.utime(out / "painted" / ".unfinished" / "identity.json", (2**31, 2**31))
    (out / ".overwriting").write_text(json.dumps({"key": "0", "slides": ["/slides/painted.tif"]}))
    assert [gone.path.name for gone in clean(out)[0]] == [".holder"]
    (out / ".overwriting").unlink()
    assert [gone.why for gone in clean(out)[0]] == ["its slide is done"]


def test_a_note_that_is_a_pipe_is_not_waited_for(out):
    note = out / "painted" / ".unfinished" / "identity.json"
    note.unlink()
    os.mkfifo(note)
    assert "what run it is of cannot be read" in [gone.why for gone in clean(out)[0]]


def test_half_written_results_and_files_of_dead_processes(out):
    (out / "painted" / ".unfinished" / "identity.json").write_text("{")
    (out / "painted" / ".partial").mkdir()
    (out / "painted" / ".partial" / "summary.json.part").write_bytes(b"x" * 10)
    node = platform.node()[-12:]
    for name in (f".{node}-{DEAD}-manifest.csv", f".{node}-{os.getpid()}-index.html", ".elsewhere-1-manifest.csv"):
        (out / name).write_bytes(b"x" * 5)
    gone = {g.path.name: (g.size, g.why) for g in clean(out)[0]}
    assert gone.pop(".unfinished")[1] == "what run it is of cannot be read"
    assert gone.pop(".partial") == (10, "results half written")
    assert gone.pop(f".{node}-{DEAD}-manifest.csv")[0] == 5
    assert set(gone) == {".holder"}
    assert (out / ".elsewhere-1-manifest.csv").exists(), "who wrote it cannot be known from here"


def test_results_that_were_being_put_in_place_are(out):
    (out / "painted" / ".partial").mkdir()
    (out / "painted" / "summary.json").rename(out / "painted" / ".partial" / "summary.json")
    clean(out)
    assert {p.name for p in (out / "painted").iterdir()} == WHOLE


@pytest.mark.parametrize("writer", WRITERS)
def test_what_was_being_written_goes_when_it_is_written_again(killed_late, writer, tmp_path):
    place = tmp_path / "place"
    if "Desk" in writer:
        shutil.copytree(killed_late / "painted", place)
        remove_unfinished(place)
        (place / HOLDER).unlink()
    write_patches(tmp_path / "patches", ["8865"])
    command = [sys.executable, "-c", KILLED_BEFORE + writer, place]
    killed = subprocess.run([*command, "killed"], cwd=tmp_path, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    node = platform.node()[-12:]
    assert any(p.name.startswith(f".{node}-") for p in place.rglob("*")), "it is told apart from what is in use"
    subprocess.run(command, cwd=tmp_path, check=True)
    assert {p.name for p in place.iterdir()} == WRITERS[writer]
