import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import wsi_idc
from wsi_idc.base.files import locked
from wsi_idc.errors import OutputError, SlideError
from wsi_idc.heatmap import stream
from wsi_idc.inference.predictor import Predictor
from wsi_idc.runs.results.folder import OUTPUTS
from wsi_idc.runs.run import Runner

from helpers import contents

CHUNK = 2
# Runs a slide into a folder and kills itself when so many chunks are done.
KILLED = """
import os, signal, sys
from pathlib import Path
import wsi_idc
import wsi_idc.heatmap.stream
from wsi_idc.runs.executors.executor import Listener
from wsi_idc.runs.run import Runner

wsi_idc.heatmap.stream._BATCHES = 1
left = int(sys.argv[3])

class Kills(Listener):
    def advanced(self, number, patches):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

settings = wsi_idc.Settings(chunk=2, threads=2)
Runner(wsi_idc.find_model("idc-patch"), settings).run(Path(sys.argv[1]), Path(sys.argv[2]), Kills())
"""


# The same with the context model, which is killed when it has written so many chunks of the heatmap.
KILLED_LATER = """
import os, signal, sys
from pathlib import Path
import wsi_idc
import wsi_idc.heatmap.store
from wsi_idc.runs.run import Runner

wsi_idc.heatmap.store._CHUNK = 4
real, left = wsi_idc.heatmap.store.HeatmapStore.write, int(sys.argv[3])

def write(self, block, probabilities):
    global left
    real(self, block, probabilities)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

wsi_idc.heatmap.store.HeatmapStore.write = write
Runner(wsi_idc.find_model(), wsi_idc.Settings()).run(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module", autouse=True)
def _small_packs():
    """Compute a batch at a time, so that there are many of them on a small slide."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stream, "_BATCHES", 1)
        yield


def run(slide, folder, **settings):
    runner = Runner(wsi_idc.find_model("idc-patch"), wsi_idc.Settings(chunk=CHUNK, threads=2, **settings))
    return runner.run(slide, folder)


def killed(slide, folder, after, script=KILLED):
    command = [sys.executable, "-c", script, slide, folder, str(after)]
    assert subprocess.run(command, cwd=Path(__file__).parent, check=False).returncode == -signal.SIGKILL


@pytest.fixture
def encoded(monkeypatch):
    """The number of patches of each block that is encoded."""
    counts, real = [], Predictor.features_of

    def features_of(self, blocks):
        counts.extend(int(present.sum()) for _, present in blocks)
        return real(self, blocks)

    monkeypatch.setattr(Predictor, "features_of", features_of)
    return counts


@pytest.fixture(scope="module")
def whole(painted, tmp_path_factory):
    return run(painted, tmp_path_factory.mktemp("whole") / "out")


def test_killed_it_goes_on_and_ends_as_though_it_had_not_been(painted, whole, tmp_path, encoded):
    folder = tmp_path / "out"
    for after in (4, 9, 6):
        killed(painted, folder, after)
    held = {p: p.stat().st_mtime_ns for p in (folder / ".unfinished").rglob("*") if p.is_file()}
    assert held
    result = run(painted, folder)
    assert contents(folder) == contents(whole.folder)
    assert {p.name for p in folder.iterdir()} == {*OUTPUTS, ".lock"}
    # What the last one of them had done is known by its progress: 6 chunks, those of the others among them.
    assert sum(encoded) < result.summary["patches"]
    blocks = whole.summary["patches"] / np.mean(encoded)
    assert len(encoded) <= blocks + 2 - 6


def test_killed_while_the_heatmap_is_written_it_writes_the_rest(painted, tmp_path, monkeypatch, encoded):
    monkeypatch.setattr("wsi_idc.heatmap.store._CHUNK", 4)
    runner = Runner(wsi_idc.find_model(), wsi_idc.Settings())
    whole = runner.run(painted, tmp_path / "whole")
    chunks = {str(p.relative_to(whole.heatmap)) for p in (whole.heatmap / "0" / "c").glob("*/*")}
    killed(painted, tmp_path / "out", 3, KILLED_LATER)
    killed(painted, tmp_path / "out", 2, KILLED_LATER)
    (kept,) = (tmp_path / "out" / ".unfinished").glob("*.zarr")
    held = {str(p.relative_to(kept)): p.stat().st_mtime_ns for p in (kept / "0" / "c").glob("*/*")}
    assert len(held) == 5 < len(chunks)
    del encoded[:]
    result = runner.run(painted, tmp_path / "out")
    assert contents(result.folder) == contents(whole.folder)
    assert encoded == []
    assert {name: (result.heatmap / name).stat().st_mtime_ns for name in held} == held


def test_another_threshold_or_model_begins_anew(painted, tmp_path, encoded):
    folder = tmp_path / "out"
    killed(painted, folder, 5)
    result = run(painted, folder, min_tissue=0.5)
    assert sum(encoded) == result.summary["patches"]
    assert (np.isfinite(wsi_idc.read_heatmap(result.heatmap)[0]).sum()) == result.summary["patches"]


def test_an_error_leaves_nothing_to_go_on_from(painted, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise SlideError("broken")

    monkeypatch.setattr("wsi_idc.runs.steps.delineate", fails)
    with pytest.raises(SlideError, match="broken"):
        run(painted, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_interrupted_it_keeps_what_was_done(painted, tmp_path, monkeypatch, encoded):
    def stops(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("wsi_idc.runs.steps.delineate", stops)
        with pytest.raises(KeyboardInterrupt):
            run(painted, tmp_path / "out")
    del encoded[:]
    run(painted, tmp_path / "out")
    assert encoded == []


def test_who_holds_a_folder_is_named(tmp_path):
    holder = (
        "import sys, time, pathlib, wsi_idc.base.files as o\n"
        "with o.locked(pathlib.Path(sys.argv[1])):\n    print(flush=True)\n    time.sleep(60)"
    )
    command = [sys.executable, "-c", holder, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent) as process:
        process.stdout.readline()
        with (
            pytest.raises(OutputError, match=rf"another wsi-idc \(process {process.pid} on .*\) is writing"),
            locked(tmp_path),
        ):
            pass
        process.kill()
    with locked(Path(tmp_path)):
        assert (tmp_path / ".holder").read_text().startswith(f"process {os.getpid()} ")
    assert not (tmp_path / ".holder").exists()
