import errno
import os
import threading
from pathlib import Path

import pytest

from wsi_idc.base import files
from wsi_idc.base.disk.folders import new_folder
from wsi_idc.base.files import is_held, locked, replacing
from wsi_idc.errors import HeldError, OutputError, SlideError


def write(folder):
    with new_folder(folder) as place:
        (place / "inside").mkdir()
        (place / "inside" / "a").write_text("1")


def there(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_new_empty_and_linked_folders(tmp_path, monkeypatch):
    write(tmp_path / "above" / "new")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    write(tmp_path / "link")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path())
    folders = ("above/new", "disk", "empty", "here")
    assert [there(tmp_path / name) for name in folders] == [["inside", "inside/a"]] * 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["above", "disk", "empty", "here", "link"]
    assert (tmp_path / "above" / "new").stat().st_mode == (tmp_path / "above").stat().st_mode


def test_what_is_there_is_kept(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is not empty; choose another -o"):
        write(tmp_path)
    with pytest.raises(OutputError, match=r"file: cannot be written \(Not a directory\)"):
        write(tmp_path / "file")
    assert there(tmp_path) == ["file"]


def test_what_is_written_to_it_and_cannot_be_is_an_output_error(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputError, match="out: no space left"), new_folder(tmp_path / "out"):
        raise full
    with pytest.raises(OutputError, match=r"out: cannot be written \(No such"), new_folder(tmp_path / "out") as place:
        (place / "gone" / "a").touch()


def test_what_is_read_from_elsewhere_and_cannot_be_stays_what_it_is(tmp_path):
    class BothError(SlideError, OSError):
        pass

    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "out"):
        (tmp_path / "gone").read_text()
    with pytest.raises(BothError), new_folder(tmp_path / "out"):
        raise BothError("slide.svs: cannot be read")
    assert there(tmp_path) == []


@pytest.mark.parametrize("existing", [True, False])
def test_nothing_is_left_of_what_failed(tmp_path, existing):
    if existing:
        (tmp_path / "out").mkdir()
    with pytest.raises(KeyError), new_folder(tmp_path / "out") as place:
        (place / "a").touch()
        raise KeyError
    assert there(tmp_path) == ["out"] * existing


def test_two_at_once_do_not_mix(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"), new_folder(tmp_path / "out") as place:
        (place / "a").touch()
        write(tmp_path / "out")
    assert there(tmp_path) == ["out", "out/inside", "out/inside/a"]


def test_a_file_reaches_the_disk_before_its_name_does(tmp_path, order):
    with replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("{}")
    inode = (tmp_path / "a.json").stat().st_ino
    assert order == [("sync", inode), ("name", inode, "a.json")]


def test_what_can_be_made_again_takes_no_time(tmp_path, order):
    with replacing(tmp_path / "a.npy", durable=False) as temporary:
        temporary.write_bytes(b"1")
    assert [kind for kind, *_ in order] == ["name"]


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
    monkeypatch.setattr(files, "_LOOK_S", 0.05)
    with (tmp_path / ".holder").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        with locked(tmp_path), pytest.raises(HeldError, match=f"process {os.getpid()}"), locked(tmp_path):
            pass


def test_looking_makes_nothing(tmp_path):
    assert not is_held(tmp_path / "gone")
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
