import csv
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from wsi_idc.errors import OutputError
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


def test_a_folder_in_its_place(tmp_path):
    (tmp_path / "manifest.csv").mkdir()
    with pytest.raises(OutputError, match="cannot be read"):
        Manifest(tmp_path / "manifest.csv")
