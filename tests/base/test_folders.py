from pathlib import Path

import pytest

from wsi_idc.base.folders import fresh_folder
from wsi_idc.errors import OutputError


def write(folder):
    with fresh_folder(folder) as place:
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


@pytest.mark.parametrize("existing", [True, False])
def test_nothing_is_left_of_what_failed(tmp_path, existing):
    if existing:
        (tmp_path / "out").mkdir()
    with pytest.raises(KeyError), fresh_folder(tmp_path / "out") as place:
        (place / "a").touch()
        raise KeyError
    assert there(tmp_path) == ["out"] * existing


def test_two_at_once_do_not_mix(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"), fresh_folder(tmp_path / "out") as place:
        (place / "a").touch()
        write(tmp_path / "out")
    assert there(tmp_path) == ["out", "out/inside", "out/inside/a"]
