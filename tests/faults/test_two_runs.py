"""Two runs on one output folder: the manifest says of each slide what its folder holds, whoever computed it."""

import csv
import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock

import wsi_idc
from wsi_idc.base.files import locked
from wsi_idc.cli.group import main
from wsi_idc.demo.painter import paint_section
from wsi_idc.errors import HeldError, OutputError, SlideError
from wsi_idc.runs import manifest as manifests
from wsi_idc.runs.batch import segment_slides
from wsi_idc.runs.executors.executor import Listener
from wsi_idc.runs.keeper import Keeper
from wsi_idc.runs.manifest import Manifest
from wsi_idc.runs.results.folder import holding
from wsi_idc.runs.settings import SegmentResult
from wsi_idc.runs.upkeep.status import read_status
from wsi_idc.runs.upkeep.verify import verify
from wsi_idc.slides.write import write_slide

MODEL = "idc-patch"


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    section, folder = paint_section(1.0, 1.0, 4.0, seed=1), tmp_path_factory.mktemp("slides")
    return [write_slide(folder / f"{n}.tif", section.pixels, 4.0, compression="deflate") for n in range(4)]


def command(slides, out):
    return [sys.executable, "-m", "wsi_idc", "segment", *map(str, slides), "-o", str(out), "--model", MODEL]


def rows(out):
    with (out / "manifest.csv").open(newline="") as stream:
        return {Path(row["slide"]).name: row for row in csv.DictReader(stream)}


def states(out):
    return [row["state"] for row in rows(out).values()]


def test_both_end_with_all_slides_done(slides, tmp_path):
    out = tmp_path / "out"
    started = [
        subprocess.Popen(command(slides, out), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert ["4 of 4 slides done" in text for text, _ in said] == [True, True]
    assert states(out) == ["done"] * 4
    assert verify(out).whole


def test_a_slide_that_another_run_has_is_looked_at_again_and_then_left(slides, tmp_path):
    out, order = tmp_path / "out", []

    class Order(Listener):
        def delayed(self, number, reason):
            order.append((number, reason))

        def ended(self, number, outcome):
            order.append((number, type(outcome)))

    with locked(out / "0"):
        outcomes = segment_slides(slides[:3], out, wsi_idc.find_model(MODEL), wsi_idc.Settings(), Order())
        assert isinstance(outcomes[slides[0]], HeldError)
        assert states(out)[1:] == ["done", "done"]
        assert states(out)[0] != "failed"
        done = CliRunner().invoke(main, command(slides[:3], out)[3:])
        assert (done.exit_code, "2 of 3 slides done, 1 left to another run" in done.stdout) == (1, True)
    assert order == [(0, "another process has it"), *[(n, SegmentResult) for n in (1, 2)], (0, HeldError)]
    segment_slides(slides[:3], out, wsi_idc.find_model(MODEL), wsi_idc.Settings())
    assert states(out) == ["done"] * 3


def test_what_the_other_has_done_meanwhile_is_taken(slides, tmp_path):
    """It ends its slide while this one does the rest."""
    out, holding, go = tmp_path / "out", threading.Event(), threading.Event()

    def hold():
        with locked(out / "0"):
            holding.set()
            go.wait(300)

    class Lets(Listener):
        def ended(self, number, outcome):
            go.set()
            other.join()

    other = threading.Thread(target=hold)
    other.start()
    assert holding.wait(60)
    outcomes = segment_slides(slides[:2], out, wsi_idc.find_model(MODEL), wsi_idc.Settings(), Lets())
    assert [o.summary["state"] for o in outcomes.values()] == ["done", "done"]


@pytest.fixture
def keeper(slides, tmp_path):
    """What keeps the manifest of a run of one slide, which has been begun."""
    found = Keeper(Manifest(tmp_path / "manifest.csv"), tmp_path, {slides[0]: "0"}, None)
    found.announce(again=False, kept=[False])
    found.started(0)
    return found


def test_a_failure_is_not_written_while_another_process_has_the_slide(keeper, tmp_path):
    with locked(tmp_path / "0"):
        keeper.ended(0, SlideError("0.tif: cannot be read"))
    assert states(tmp_path) == ["running"]


def test_a_failure_is_not_written_once_another_process_has_done_the_slide(keeper, slides, tmp_path):
    """Its row was there first, or is still to come: what is there counts."""
    segment_slides([slides[0]], tmp_path / "other", wsi_idc.find_model(MODEL), wsi_idc.Settings())
    (tmp_path / "other" / "0").rename(tmp_path / "0")
    keeper.ended(0, SlideError("0.tif: cannot be read"))
    assert states(tmp_path) == ["done"]
    assert float(rows(tmp_path)["0.tif"]["patches"]) > 0


def test_a_failure_of_ones_own_is(keeper, tmp_path):
    keeper.ended(0, SlideError("0.tif: cannot be read"))
    assert rows(tmp_path)["0.tif"]["reason"] == "0.tif: cannot be read"
    assert states(tmp_path) == ["failed"]


def test_what_another_run_says_of_a_slide_is_not_taken_back(keeper, slides, tmp_path):
    Manifest(tmp_path / "manifest.csv").update({"slide": str(slides[0]), "state": "done", "output": "0"})
    keeper.started(0)
    assert states(tmp_path) == ["done"]
    Manifest(tmp_path / "manifest.csv").update({"slide": str(slides[0]), "state": "failed", "output": "0"})
    with locked(tmp_path / "0"):
        keeper.announce(again=False, kept=[False])
        assert states(tmp_path) == ["failed"], "who has it writes its row"
    keeper.announce(again=False, kept=[False])
    assert states(tmp_path) == ["pending"]


def test_a_manifest_that_is_kept_for_ever(slides, tmp_path):
    """By a process that is stuck: the slides are done all the same, and the table is mended later."""
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import wsi_idc.runs.manifest as m, sys\nm._PATIENCE_S = 0.5\nfrom wsi_idc.cli import main\n"
        "if __name__ == '__main__':\n    sys.argv[0] = 'wsi-idc'\n    main()"
    )
    (tmp_path / "run.py").write_text(code)
    arguments = [sys.executable, tmp_path / "run.py", *command(slides[:3], out)[3:]]
    with FileLock(out / ".manifest.lock"):
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, "3 of 3 slides done" in done.stdout) == (0, True), done.stderr
        lines = [line for line in done.stderr.splitlines() if "another process keeps it" in line]
        assert len(lines) == 2, done.stderr
        # A busy machine has time to say how far it is.
        assert all(line in lines or " of " in line for line in done.stderr.splitlines())
        assert not (out / "manifest.csv").exists()
        assert verify(out).whole
    segment_slides(slides[:3], out, wsi_idc.find_model(MODEL), wsi_idc.Settings())
    assert states(out) == ["done"] * 3


def test_status_counts_what_the_table_does_not_know_yet(slides, tmp_path, monkeypatch):
    out = tmp_path / "out"
    package = wsi_idc.find_model(MODEL)
    manifest = Manifest(out / "manifest.csv")
    manifest.add({"slide": str(s), "state": "pending", "output": s.stem} for s in slides[:2])
    monkeypatch.setattr(manifests, "_PATIENCE_S", 0.01)
    with FileLock(out / ".manifest.lock"):
        segment_slides(slides[:2], out, package, wsi_idc.Settings())
    assert states(out) == ["pending"] * 2
    found = read_status(out)
    assert (found.done, found.remaining) == (2, 0)
    assert found.patches_per_s > 0
    facts = json.loads(CliRunner().invoke(main, ["status", str(out), "--clean", "--json"]).stdout)
    assert facts["done"] == 2
    assert states(out) == ["done"] * 2


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_that_knows_no_locks_is_refused(slides, tmp_path, monkeypatch, number):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OutputError, match=r"knows no locks .*; choose another -o, or mount it with locks"):
        wsi_idc.segment(slides[0], tmp_path / "out", model=MODEL)
    with pytest.raises(OutputError, match="knows no locks"), locked(tmp_path / "folder"):
        pass
    assert not list(tmp_path.rglob("summary.json"))


def test_a_folder_that_its_holder_just_removes_is_made_again(tmp_path):
    """Whoever ends with nothing in it removes it, while the next one is about to take it."""
    errors, stop = [], threading.Event()

    def hold():
        while not stop.is_set():
            try:
                with locked(tmp_path / "slide"):
                    pass
            except HeldError:
                pass
            except OutputError as error:
                errors.append(error)

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    stop.wait(3)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_who_looks_while_it_is_removed_does_not_take_it_for_something_else(tmp_path):
    errors, stop = [], threading.Event()

    def come_and_go():
        while not stop.is_set():
            with locked(tmp_path / "slide"):
                pass

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            try:
                with holding(tmp_path / "slide"):
                    pass
            except HeldError:
                pass
            except OutputError as error:
                errors.append(error)
    finally:
        stop.set()
        thread.join()
    assert errors == []
