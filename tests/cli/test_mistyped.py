"""What was mistyped is told at once, in one line, and nothing is written."""

from __future__ import annotations

import csv
import errno
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wsi_idc.base.disk.trouble import output_error
from wsi_idc.cli.group import main
from wsi_idc.errors import DiskError, OutputError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--json",)])
def test_a_slide_that_is_named_and_not_there_is_wrong_usage(tmp_path: Path, painted: Path, options: tuple) -> None:
    done = run("segment", painted, tmp_path / "nosuch.svs", tmp_path / "nor-this.svs", "-o", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert done.stderr == f"Error: {tmp_path / 'nosuch.svs'}: no such file; and 1 more of what was named\n"
    assert done.stdout == "" and list(tmp_path.iterdir()) == []
    assert run("segment", "https://host/slide.svs").stderr.endswith("copy the slide to this machine\n")


def test_one_of_a_list_or_a_folder_that_is_not_there_fails_by_itself(tmp_path: Path, painted: Path) -> None:
    shutil.copy(painted, tmp_path / "a.tif")
    (tmp_path / "list.txt").write_text("a.tif\nnosuch.svs\n")
    done = run("segment", "--list", tmp_path / "list.txt", "-o", tmp_path / "out", "--model", "idc-patch")
    assert done.exit_code == 1 and "nosuch.svs: no such file" in done.stderr
    with (tmp_path / "out" / "manifest.csv").open(newline="") as stream:
        assert [row["state"] for row in csv.DictReader(stream)] == ["done", "failed"]
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "away.svs").symlink_to("not-there.svs")
    assert run("segment", tmp_path / "slides", "-o", tmp_path / "more").exit_code == 1
    assert (tmp_path / "more" / "manifest.csv").is_file()


def test_a_folder_without_slides_takes_one_short_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    done = run("segment", tmp_path)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert len(done.stderr) - len(str(tmp_path)) < 200
    told = run("info", tmp_path)
    assert (
        told.exit_code == 1 and "slides are files that end in .bif" in told.stderr and "no slides there" in told.stderr
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("segmnt", "segment"), ("delinate", "delineate"), ("evalute", "evaluate"), ("stauts", "status")],
)
def test_a_mistyped_command_names_the_one_that_is_meant(typed: str, meant: str) -> None:
    done = run(typed, "slide.svs")
    assert done.exit_code == 2 and f"No such command '{typed}'. Did you mean '{meant}'?" in done.stderr
    assert "Did you mean" not in run("xyzzy").stderr


def test_a_mistyped_option_names_the_one_that_is_meant() -> None:
    assert "--threshold" in run("segment", "--treshold", "0.5").stderr


def test_an_output_that_may_not_be_written_to_is_no_failing_disk(tmp_path: Path) -> None:
    def said(number: int) -> Exception:
        return output_error(tmp_path / "out", OSError(number, os.strerror(number)))

    denied, fixed = said(errno.EACCES), said(errno.EROFS)
    assert isinstance(denied, OutputError) and isinstance(fixed, DiskError)
    assert "cannot be written (Permission denied); choose another place, or ask" in str(denied)
    assert "cannot be written (Read-only file system); choose another place, or run again once the disk at" in str(
        fixed
    )
    assert "fails" not in f"{denied}{fixed}" and "fails, run again" in str(said(errno.EIO))
