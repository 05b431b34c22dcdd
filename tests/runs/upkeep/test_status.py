import csv
import dataclasses
import io
import json

import pytest
from click.testing import CliRunner

from wsi_idc.base.files import locked
from wsi_idc.cli.group import main
from wsi_idc.cli.progress import duration
from wsi_idc.errors import OutputError
from wsi_idc.runs.manifest import COLUMNS, Manifest
from wsi_idc.runs.upkeep import status
from wsi_idc.runs.upkeep.status import read_status


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(status, "LOOK_AGAIN_S", 0)


def write(output, *rows):
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="")
    table.writeheader()
    table.writerows({"slide": f"/slides/{n}.svs", "output": str(n)} | row for n, row in enumerate(rows))
    output.mkdir(exist_ok=True)
    (output / "manifest.csv").write_text(text.getvalue())


DONE = [{"state": "done", "seconds": s, "patches": p} for s, p in [("10.00", "1000"), ("30.00", "5000")]]
FAILED = {"state": "failed", "reason": "/slides/2.svs: no scale", "seconds": "0.10"}
REST = [{"state": "incomplete", "seconds": "99", "patches": "7"}, {"state": "pending"}, {"state": "pending"}]


def test_what_the_rows_say(tmp_path):
    write(tmp_path, *DONE, FAILED, *REST)
    assert dataclasses.asdict(read_status(tmp_path)) == {
        "done": 2,
        "incomplete": 1,
        "warned": [],
        "in_part": [{"slide": "/slides/3.svs", "reason": ""}],
        "not_looked_at": [],
        "failed": [{"slide": "/slides/2.svs", "reason": "/slides/2.svs: no scale"}],
        "made_by": {"": 3},
        "running": 0,
        "interrupted": 0,
        "remaining": 2,
        "slides_per_hour": 180.0,
        "patches_per_s": 150.0,
        "seconds_left": 40.0,
    }


def test_a_slide_whose_folder_nobody_holds_was_interrupted(tmp_path):
    write(tmp_path, *DONE, *[{"state": "running"}] * 3, {"state": "pending"})
    with locked(tmp_path / "2"), locked(tmp_path / "3"):
        found = read_status(tmp_path)
    assert (found.running, found.interrupted, found.remaining) == (2, 1, 4)
    assert found.seconds_left == 40.0, "4 slides of 20 s by two processes"
    assert read_status(tmp_path).interrupted == 3
    assert read_status(tmp_path).seconds_left == 80.0
    assert not (tmp_path / "4").exists(), "looking makes nothing"


def test_before_anything_is_done_there_is_no_rate(tmp_path):
    write(tmp_path, {"state": "pending"})
    found = read_status(tmp_path)
    assert (found.slides_per_hour, found.patches_per_s, found.seconds_left, found.remaining) == (None, None, None, 1)


def test_a_folder_without_manifest(tmp_path):
    with pytest.raises(OutputError, match=r"no manifest\.csv"):
        read_status(tmp_path)
    done = CliRunner().invoke(main, ["status", str(tmp_path / "gone")])
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "gone").exists()


def test_as_table_and_json(tmp_path):
    write(tmp_path, *DONE, FAILED, *REST, {"state": "running"})
    table = CliRunner().invoke(main, ["status", str(tmp_path)])
    assert table.exit_code == 0
    lines = [line.split() for line in table.stdout.splitlines()]
    assert ["done", "2"] in lines
    assert ["remaining", "3"] in lines
    assert ["interrupted", "1"] in lines
    assert "failed: /slides/2.svs: no scale" in table.stdout
    assert "run the same command again" in table.stdout
    assert "rate: 180.0 slides an hour, 150 patches/s\n" in table.stdout
    facts = json.loads(CliRunner().invoke(main, ["status", str(tmp_path), "--json"]).stdout)
    assert facts == dataclasses.asdict(read_status(tmp_path))


def test_slides_of_one_name_are_told_apart(tmp_path):
    rows = [
        {"slide": f"/{folder}/x.svs", "state": "done", "patches": patches, "reason": why, "warnings": warning}
        for folder, patches, why, warning in (("a", "0", "no tissue", ""), ("b", "9", "", "out of focus"))
    ]
    write(tmp_path, *rows)
    told = CliRunner().invoke(main, ["status", str(tmp_path)]).stdout.splitlines()
    assert {"/a/x.svs: no tissue", "warning: /b/x.svs: out of focus"} <= set(told)


def test_the_rate_of_several_is_that_of_each(tmp_path):
    write(tmp_path, *DONE, {"state": "running"}, {"state": "running"})
    with locked(tmp_path / "2"), locked(tmp_path / "3"):
        assert "by each of 2 processes" in CliRunner().invoke(main, ["status", str(tmp_path)]).stdout


def test_durations_as_people_say_them():
    assert [duration(s) for s in (0, 89, 90, 3540, 3599, 7500)] == [
        "0 s",
        "89 s",
        "2 min",
        "59 min",
        "1 h 00 min",
        "2 h 05 min",
    ]


def test_a_damaged_manifest_is_said_in_a_line_and_the_rest_is_counted(tmp_path):
    write(tmp_path, *DONE, FAILED)
    path = tmp_path / "manifest.csv"
    whole = path.read_text()
    path.write_text(whole[:-5])
    assert read_status(tmp_path).done == 2
    for text in ("", whole[:20], "\0" * 100, '"' + "x" * 200_000, "\N{SNOWMAN}"):
        path.write_text(text)
        done = CliRunner().invoke(main, ["status", str(tmp_path)])
        assert done.exit_code == 1
        assert len(done.stderr.splitlines()) == 1
        assert "manifest" in done.stderr


def test_what_stands_beside_a_large_table_counts(tmp_path):
    write(tmp_path, *[{"state": "pending", "reason": "x" * 100}] * 1000)
    Manifest(tmp_path / "manifest.csv").update(
        {"slide": "/slides/0.svs", "state": "done", "output": "0", "seconds": "10", "patches": "100"}
    )
    assert (tmp_path / ".manifest.changes").exists()
    assert read_status(tmp_path).done == 1
