"""What a command writes is not lost unasked: each refuses what is there, says how it is replaced, and replaces it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import wsi_idc
from wsi_idc.base.disk.folders import new_folder
from wsi_idc.cli.group import main
from wsi_idc.data.split import write_split
from wsi_idc.errors import OutputError

from helpers import write_patches

# These go on with what is there, or reuse it; or do not write where they are told to.
GO_ON = {"segment", "train", "tune", "demo", "serve"}
Made = Callable[[Path, Path], list[object]]
# A command by what it is given: the folder of a run and patches, and where it writes to.
COMMANDS: dict[str, Made] = {
    "delineate": lambda run, _: ["delineate", run, "-o"],
    "fields": lambda run, _: ["fields", run, "--slide", run.parent / "painted.tif", "-n", 2, "-o"],
    "compare": lambda run, _: ["compare", run, run / "regions.geojson", "-o"],
    "audit": lambda _, patches: ["data", "audit", patches, "-o"],
    "split": lambda _, patches: ["data", "split", patches, "-o"],
    "from-annotations": lambda run, _: [
        *("data", "from-annotations", run.parent / "painted.tif", run / "regions.geojson", "-o")
    ],
    "evaluate": lambda _, patches: ["evaluate", patches, "--split", "val", "--model", "idc-patch", "-o"],
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def files_of(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def segmented(painted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("segmented")
    shutil.copy(painted, place / "painted.tif")
    return wsi_idc.segment(place / "painted.tif", place, model="idc-patch").folder


@pytest.fixture(scope="module")
def patches50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patches of the size that a shipped model sees."""
    return write_patches(tmp_path_factory.mktemp("patches50"), ["8865", "8867", "8914", "8864"], size=50)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_there_is_refused_and_replaced_with_overwrite(
    name: str, segmented: Path, patches50: Path, tmp_path: Path
) -> None:
    arguments = [*COMMANDS[name](segmented, patches50), tmp_path / "out"]
    assert run(*arguments).exit_code == 0
    before = files_of(tmp_path)
    refused = run(*arguments)
    assert refused.exit_code == 1 and "--overwrite" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert files_of(tmp_path) == before
    assert run(*arguments, "--overwrite").exit_code == 0
    after = files_of(tmp_path)
    assert list(after) == list(before) and min(after.values()) > max(before.values())
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def _commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        elif command:
            yield f"{before}{name}", command


def test_every_command_that_writes_has_the_option() -> None:
    """Those with -o, and those with a file or folder that they write to."""
    options = {name: {p.name for p in command.params} for name, command in _commands(main)}
    writes = {name for name, params in options.items() if params & {"output", "target", "figure"}}
    assert {name for name in writes if "overwrite" not in options[name]} <= GO_ON | {"status", "verify", "doctor"}
    assert {"convert", "delineate", "models package", "data split"} <= writes


def test_what_no_such_command_wrote_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("a.json", "notes.txt"):
        (tmp_path / "out" / name).write_text(name)
    with (
        pytest.raises(OutputError, match=r"out: holds notes\.txt, which would be lost; choose another -o"),
        new_folder(tmp_path / "out", overwrite=True, written=("a.json", "b-*.png")),
    ):
        pass
    assert sorted(files_of(tmp_path)) == ["out/a.json", "out/notes.txt"]


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.json").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(KeyError), new_folder(tmp_path / "link", overwrite=True, written=("*.json",)) as place:
        (place / "a.json").write_text("new")
        raise KeyError
    assert (tmp_path / "real" / "a.json").read_text() == "old"
    with new_folder(tmp_path / "link", overwrite=True, written=("*.json",)) as place:
        (place / "b.json").write_text("new")
    assert [p.name for p in (tmp_path / "real").iterdir()] == ["b.json"] and (tmp_path / "link").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


def test_no_list_of_another_split_stays(tmp_path: Path) -> None:
    """Its patients would count to the one that is written now."""
    write_split(tmp_path, {"train": ["1"], "val": ["2"], "test": [], "unlisted": ["3"]})
    parts = {"train": ["3"], "val": ["2"], "test": ["1"]}
    with pytest.raises(OutputError, match=r"unlisted\.txt: already there; choose another -o or give --overwrite"):
        write_split(tmp_path, parts)
    write_split(tmp_path, parts, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["test.txt", "train.txt", "val.txt"]


def test_the_folder_that_one_stands_in_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "out" / "below").mkdir(parents=True)
    for there, name in ((tmp_path / "out", "."), (tmp_path / "out" / "below", "..")):
        monkeypatch.chdir(there)
        with (
            pytest.raises(OutputError, match="is the folder that you stand in"),
            new_folder(Path(name), overwrite=True, written=("below",)),
        ):
            pass
    assert (tmp_path / "out" / "below").is_dir()


@pytest.mark.parametrize("there", [False, True])
def test_what_cannot_be_read_meanwhile_is_not_laid_to_the_output(tmp_path, there):
    if there:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.json").write_text("before")
    with (
        pytest.raises(FileNotFoundError, match="elsewhere"),
        new_folder(tmp_path / "out", overwrite=True, written=("a.json",)),
    ):
        (tmp_path / "elsewhere").read_text()
    assert [(p.name, p.read_text()) for p in tmp_path.rglob("*.json")] == ([("a.json", "before")] if there else [])
