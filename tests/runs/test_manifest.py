import csv
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from wsi_idc.errors import OutputError
from wsi_idc.runs import manifest as manifests
from wsi_idc.runs.manifest import COLUMNS, Manifest


def read(path):
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


def test_rows_of_several_writers_are_all_kept(tmp_path):
    """As the jobs of a cluster array on one output folder: each has read the table before the others wrote."""
    path = tmp_path / "manifest.csv"
    writers = [Manifest(path) for _ in range(8)]
    for n, writer in enumerate(writers):
        writer.add([{"slide": f"{n}.svs", "state": "pending"}])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: writers[n].update({"slide": f"{n}.svs", "state": "done"}), range(8)))
    assert [(r["slide"], r["state"]) for r in read(path)] == [(f"{n}.svs", "done") for n in range(8)]
    assert not list(tmp_path.glob(".manifest.csv.*"))


def test_a_done_row_stays_until_its_slide_is_done_again(tmp_path):
    manifest = Manifest(tmp_path / "manifest.csv")
    manifest.update({"slide": "a.svs", "state": "done", "idc_mm2": 1.5})
    Manifest(tmp_path / "manifest.csv").add([{"slide": "a.svs", "state": "pending"}, {"slide": "b.svs"}])
    assert [(r["slide"], r["state"], r["idc_mm2"]) for r in read(tmp_path / "manifest.csv")] == [
        ("a.svs", "done", "1.5"),
        ("b.svs", "", ""),
    ]


def test_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b"latin\xe9.svs")
    Manifest(tmp_path / "manifest.csv").update({"slide": name, "state": "done"})
    Manifest(tmp_path / "manifest.csv").update({"slide": "b.svs", "state": "done"})
    assert [r["slide"] for r in read(tmp_path / "manifest.csv")] == [name, "b.svs"]


@pytest.mark.parametrize("text", ["my,own,table\n1,2,3\n", ",".join(COLUMNS) + "\n" + "x," * 20 + "\n"])
def test_a_table_of_something_else_is_left_alone(tmp_path, text):
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(OutputError, match="not a manifest"):
        Manifest(path)
    assert path.read_text() == text


def slides(count):
    return [f"/archive/of/slides/with/a/long/name/{n:05}.svs" for n in range(count)]


@pytest.fixture
def large(tmp_path):
    """A table of a thousand slides, with a longer row for each than a small one has."""
    path = tmp_path / "manifest.csv"
    Manifest(path).add({"slide": s, "state": "pending", "output": f"{n}"} for n, s in enumerate(slides(1000)))
    assert path.stat().st_size > manifests._SMALL
    return path


def test_a_change_costs_the_same_however_many_slides_there_are(large, monkeypatch):
    written, real = [], Manifest._fold

    def fold(self, *args):
        real(self, *args)
        written.append(large.stat().st_size)

    monkeypatch.setattr(Manifest, "_fold", fold)
    manifest = Manifest(large)
    for slide in slides(1000):
        manifest.update({"slide": slide, "state": "running"})
        manifest.update({"slide": slide, "state": "done", "seconds": "1.00", "idc_mm2": 1.5})
    assert sum(written) < 10 * 2 * large.stat().st_size, "not 2,000 times the table"
    manifest.settle()
    assert [(r["slide"], r["state"], r["idc_mm2"]) for r in read(large)] == [(s, "done", "1.5") for s in slides(1000)]
    assert {p.name for p in large.parent.iterdir()} <= {"manifest.csv", ".manifest.lock", ".manifest.sum"}


def test_killed_it_still_says_the_truth(large):
    """The table is behind then; whoever reads it through `Manifest` sees what was written beside it too."""
    code = (
        "import os, sys; from pathlib import Path; from wsi_idc.runs.manifest import Manifest\n"
        "manifest = Manifest(Path(sys.argv[1]))\n"
        "for slide in sys.argv[2:]:\n    manifest.update({'slide': slide, 'state': 'done'})\n"
        "os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, large, *slides(3), "/archive/line\nend.svs"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert [r["state"] for r in read(large)] == ["pending"] * 1000
    changes = large.with_name(".manifest.changes")
    # Killed within a line: that change never came to be, the next one does.
    with changes.open("a") as stream:
        stream.write("\n" + json.dumps({"slide": slides(4)[3], "state": "done"})[:-9])
    expected = ["done"] * 3 + ["pending"] * 996 + ["running", "done"]
    Manifest(large).update({"slide": slides(1000)[-1], "state": "running"})
    assert [r["state"] for r in Manifest(large).read().values()] == expected
    Manifest(large).settle()
    assert [r["state"] for r in read(large)] == expected
    assert read(large)[-1]["slide"] == "/archive/line\nend.svs"


def test_killed_after_the_table_was_written_it_ends_the_same(large, monkeypatch):
    manifest = Manifest(large)
    manifest.update({"slide": slides(1)[0], "state": "running"})
    manifest.update({"slide": slides(1)[0], "state": "done"})
    changes = large.with_name(".manifest.changes")
    left = changes.read_bytes()
    manifest.settle()
    changes.write_bytes(left)
    Manifest(large).update({"slide": slides(2)[1], "state": "done"})
    assert [r["state"] for r in Manifest(large).read().values()][:3] == ["done", "done", "pending"]


def test_changes_of_a_table_that_was_taken_away_are_gone(large):
    Manifest(large).update({"slide": slides(1)[0], "state": "running"})
    large.unlink()
    assert Manifest(large).read() == {}
    Manifest(large).add([{"slide": "new.svs", "state": "pending"}])
    assert list(Manifest(large).read()) == ["new.svs"]


def test_a_stuck_lock_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(manifests, "_PATIENCE_S", 0.01)
    path = tmp_path / "manifest.csv"
    manifest = Manifest(path)
    manifest.add([{"slide": "old.svs", "state": "done"}])
    with FileLock(tmp_path / ".manifest.lock"):
        manifest.add([{"slide": "old.svs", "state": "pending"}, {"slide": "a.svs", "state": "pending"}])
        manifest.update({"slide": "a.svs", "state": "running"})
        manifest.settle()
        assert [r["state"] for r in read(path)] == ["done"]
        assert [r["state"] for r in manifest.read().values()] == ["done", "running"]
    assert [r.getMessage().split(": ")[1].split(";")[0] for r in caplog.records] == [
        "another process keeps it",
        "another process keeps it, so 1 rows of it are not up to date",
    ]
    manifest.update({"slide": "b.svs", "state": "pending"})
    assert [(r["slide"], r["state"]) for r in read(path)] == [
        ("old.svs", "done"),
        ("a.svs", "running"),
        ("b.svs", "pending"),
    ]


def test_cut_short_anywhere_it_gives_the_rows_that_are_whole(tmp_path, caplog):
    path = tmp_path / "manifest.csv"
    rows = [
        {"slide": f"/s/{n}.svs", "state": "done", "output": f"{n}", "seconds": "10.25", "warnings": "a; b"}
        for n in range(3)
    ]
    Manifest(path).add(rows)
    whole = path.read_bytes()
    ends = [n + 1 for n, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        caplog.clear()
        complete = sum(end <= cut for end in ends)
        if cut < ends[1] and cut not in (ends[0] - 1, ends[0]):
            with pytest.raises(OutputError, match="is not a manifest"):
                Manifest(path)
            continue
        assert list(Manifest(path).read()) == [f"/s/{n}.svs" for n in range(complete - 1)]
        assert len(caplog.records) == (cut not in ends and cut > ends[0]), "and says that there was more"


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": "nan"},
        {"patches": "1e999"},
        {"idc_mm2": "much"},
        {"state": "gone"},
        {"output": "../elsewhere"},
        {"output": ".."},
        {"slide": ""},
    ],
)
def test_junk_in_a_row_costs_that_row(tmp_path, caplog, wrong):
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS, restval="")
        table.writeheader()
        table.writerows([{"slide": "a.svs", "state": "done"}, {"slide": "b.svs", "state": "done"} | wrong])
    assert list(Manifest(path).read()) == ["a.svs"]
    assert "1 of its 2 rows are damaged" in caplog.text


def test_a_cell_is_no_formula(tmp_path):
    path = tmp_path / "manifest.csv"
    names = ["=cmd|' C calc'!A0", "+1+1", "-x", "@x", "'quoted", "plain", "-5"]
    Manifest(path).add({"slide": f"{n}", "output": name} for n, name in enumerate(names))
    assert [r["output"] for r in Manifest(path).read().values()] == names
    assert [r["output"][0] for r in read(path)] == ["'"] * 5 + ["p", "-"]


def test_a_folder_in_its_place(tmp_path):
    (tmp_path / "manifest.csv").mkdir()
    with pytest.raises(OutputError, match="cannot be read"):
        Manifest(tmp_path / "manifest.csv")


def test_rows_one_by_one_are_those_of_the_whole_table(large):
    manifest = Manifest(large)
    manifest.update({"slide": slides(8)[7], "state": "running"}, {"slide": "/new.svs", "state": "done"})
    assert list(manifest.rows()) == list(Manifest(large).read().values())
    assert [r["state"] for r in manifest.rows()][5:9] == ["pending", "pending", "running", "pending"]
    large.unlink()
    assert list(manifest.rows()) == []


def test_rows_of_a_table_that_was_changed_by_hand_are_looked_at(large, caplog):
    """One that is as it was written is not: a million rows are counted in seconds."""
    assert len(list(Manifest(large).rows())) == 1000
    large.write_text(large.read_text().replace("pending,", "pensive,", 1))
    assert len(list(Manifest(large).rows())) == 999
    assert "1 of its 1000 rows are damaged" in caplog.text


def test_a_table_of_an_older_version_is_read_and_written_as_one_of_this(tmp_path):
    path = tmp_path / "manifest.csv"
    older = [name for name in COLUMNS if name != "made_by"]
    values = dict.fromkeys(older, "") | {"slide": "/s/1.svs", "state": "done", "output": "1", "warnings": "faint"}
    path.write_text(",".join(older) + "\n" + ",".join(values.values()) + "\n")
    assert Manifest(path).read() == {"/s/1.svs": values | {"made_by": ""}}
    # What it had not brought into the table when it was killed.
    path.with_name(".manifest.changes").write_text(f"\n{json.dumps(values | {'state': 'failed'})}")
    assert Manifest(path).read() == {"/s/1.svs": values | {"state": "failed", "made_by": ""}}
    Manifest(path).add([{"slide": "/s/2.svs", "state": "pending", "output": "2"}])
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert [row["warnings"] for row in Manifest(path).read().values()] == ["faint", ""]
