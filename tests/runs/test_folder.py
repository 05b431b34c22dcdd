import os
import threading
from pathlib import Path

import pytest

from wsi_idc.errors import HeldError, OutputError
from wsi_idc.runs import folder as folders
from wsi_idc.runs.folder import OUTPUTS, holding, is_held, locked, replacing, writing_to


@pytest.fixture
def order(monkeypatch):
    """What reaches the disk and what is named, in order: ("sync", inode) and ("name", inode, new name)."""
    events = []
    fsync, replace = os.fsync, Path.replace

    def synced(opened):
        events.append(("sync", os.fstat(opened).st_ino))
        fsync(opened)

    def named(self, target):
        events.append(("name", self.stat().st_ino, Path(target).name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", named)
    return events


def test_a_file_reaches_the_disk_before_its_name_does(tmp_path, order):
    with replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("{}")
    inode = (tmp_path / "a.json").stat().st_ino
    assert order == [("sync", inode), ("name", inode, "a.json")]


def test_what_can_be_made_again_takes_no_time(tmp_path, order):
    with replacing(tmp_path / "a.npy", durable=False) as temporary:
        temporary.write_bytes(b"1")
    assert [kind for kind, *_ in order] == ["name"]


def test_results_reach_the_disk_before_their_names_and_the_summary_comes_last(tmp_path, order):
    with holding(tmp_path / "out"), writing_to(tmp_path / "out") as place:
        (place / "heatmap.zarr" / "0").mkdir(parents=True)
        for name in ("heatmap.zarr/0/c", *OUTPUTS[1:]):
            (place / name).write_text(name)
    out = tmp_path / "out"
    names = [event[2] for event in order if event[0] == "name"]
    assert names == list(OUTPUTS)
    first = next(n for n, event in enumerate(order) if event[0] == "name")
    synced = {event[1] for event in order[:first]}
    assert {p.stat().st_ino for p in [*out.rglob("*")] if p.name != ".lock"} <= synced
    # The names of the others too, before the name that says that they are whole.
    assert order[-2] == ("sync", out.stat().st_ino)
    assert order[-1][2] == "summary.json"


def test_a_disk_that_fails_is_an_error_and_the_old_file_stays(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("old")

    def fails(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OutputError, match=r"a\.csv: cannot be written \(Input/output error\)"):  # noqa: SIM117
        with replacing(tmp_path / "a.csv") as temporary:
            temporary.write_text("new")
    assert (tmp_path / "a.csv").read_text() == "old"


def test_looking_keeps_nobody_from_holding(tmp_path):
    """As `status` beside a run that begins its slides."""
    stop, looks = threading.Event(), [0]

    def look():
        while not stop.is_set():
            is_held(tmp_path)
            looks[0] += 1

    (tmp_path / ".lock").touch()
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        while looks[0] < 300:
            with locked(tmp_path):
                assert is_held(tmp_path)
    finally:
        stop.set()
        watcher.join()
    assert not is_held(tmp_path)


def test_who_is_stopped_while_looking_keeps_nobody_either(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(folders, "_LOOK_S", 0.05)
    with (tmp_path / ".holder").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        with locked(tmp_path), pytest.raises(HeldError, match=f"process {os.getpid()}"), locked(tmp_path):
            pass


def test_looking_makes_nothing(tmp_path):
    assert not is_held(tmp_path / "gone")
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
