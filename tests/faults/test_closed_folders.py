"""What may not be read in a folder fails by itself, named with the reason, and the rest of the folder is done."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wsi_idc.demo.painter import paint_section
from wsi_idc.errors import SlideError
from wsi_idc.slides.paths.find import file_to_open, find_slides, output_names
from wsi_idc.slides.paths.series import with_series
from wsi_idc.slides.write import write_slide

# Root may read everything, unless it gives that right away.
_RIGHTS = "-dac_override,-dac_read_search"
AS_OTHERS = ["setpriv", f"--bounding-set={_RIGHTS}", f"--inh-caps={_RIGHTS}"] if os.geteuid() == 0 else []
pytestmark = pytest.mark.skipif(
    bool(AS_OTHERS) and (shutil.which("setpriv") is None or subprocess.call([*AS_OTHERS, "true"]) != 0),
    reason="root cannot give its rights away here",
)
CLOSED, LINK = "the folder cannot be looked into", "a link to what is not there"
# What may not be read, by name, and why not.
REASONS = {
    "closed": CLOSED,
    "listed-only": CLOSED,
    "store.zarr": CLOSED,
    "gone.svs": LINK,
    "circle.tif": "cannot be read (Too many levels of symbolic links)",
    "unreadable.tif": "may not be read",
    "1.dcm": "may not be read",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    section = paint_section(1.0, 1.0, 4.0, seed=1)
    slide = write_slide(folder / "a.tif", section.pixels, 4.0, compression="deflate")
    for name in ("closed/c.tif", "listed-only/d.tif", "deep/e.tif", "unreadable.tif", "1.dcm"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(slide, folder / name)
    shutil.copy(slide, os.fsencode(folder) + b"/\xff.tif")
    (folder / "store.zarr").mkdir()
    (folder / "store.zarr" / "zarr.json").write_text("{}")
    (folder / "gone.svs").symlink_to("nothing.svs")
    (folder / "circle.tif").symlink_to("circle.tif")
    (folder / "deep" / "circle").symlink_to("../deep")
    rights = dict.fromkeys(("closed", "store.zarr", "unreadable.tif", "1.dcm"), 0) | {"listed-only": 0o444}
    for name, mode in rights.items():
        (folder / name).chmod(mode)
    yield folder
    for name in rights:
        (folder / name).chmod(0o755)


def run(*arguments):
    command = [*AS_OTHERS, sys.executable, "-m", "wsi_idc", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_rest_of_a_folder_is_done(folder, tmp_path):
    out = tmp_path / "out"
    status, said, errors = run("segment", "--recursive", folder, "-o", out, "--model", "idc-patch")
    assert (status, "Traceback" in errors) == (1, False), errors
    assert "3 of 10 slides done" in said
    with (out / "manifest.csv").open(newline="", errors="surrogateescape") as stream:
        rows = {Path(row["slide"]).name: row for row in csv.DictReader(stream)}
    # By what a link leads to.
    named = {{"gone.svs": "nothing.svs"}.get(name, name): reason for name, reason in REASONS.items()}
    assert {name for name, row in rows.items() if row["state"] == "done"} == {"a.tif", "e.tif", "\udcff.tif"}
    failed = {name: row["reason"] for name, row in rows.items() if row["state"] == "failed"}
    assert failed.keys() == named.keys()
    assert [name for name, reason in named.items() if reason not in failed[name]] == []


def test_info_of_a_folder_names_them(folder):
    status, said, errors = run("info", folder)
    assert (status, "Traceback" in errors) == (1, False), errors
    assert str(folder / "a.tif") in said.splitlines()
    assert [name for name, why in REASONS.items() if f"error: {folder / name}: {why}" not in errors] == []


def test_a_list_may_name_what_lies_in_a_closed_folder(folder, tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(str(folder / name) for name in ("closed/c.tif", "a.tif", "1.dcm")))
    out = tmp_path / "out"
    status, said, errors = run("segment", "--list", tmp_path / "list.txt", "-o", out, "--series", "all", "--dry-run")
    assert (status, "Traceback" in errors) == (1, False), errors
    assert said.count("to do") >= 1
    assert "its folder cannot be looked into" in said
    assert "may not be read" in said


def test_a_folder_that_is_taken_away_while_it_is_walked_has_no_slides(folder, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    shutil.copy(folder / "a.tif", tmp_path / "there" / "a.tif")
    (tmp_path / "away").mkdir()
    real = Path.iterdir

    def iterdir(self):
        found = list(real(self))
        if self == tmp_path:
            shutil.rmtree(tmp_path / "away", ignore_errors=True)
        return iter(found)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert find_slides([tmp_path], recursive=True) == [tmp_path / "there" / "a.tif"]


@pytest.fixture
def deep(tmp_path):
    """A folder within 1200 others; taken away here, since pytest cannot."""
    folder = tmp_path / "top"
    folder.mkdir()
    for _ in range(1200):
        folder /= "d"
        folder.mkdir()
    yield folder
    subprocess.run(["rm", "-rf", tmp_path / "top"], check=True)


def test_folders_may_lie_in_each_other_more_often_than_calls_may(tmp_path, deep):
    (deep / "a.svs").write_bytes(b"none")
    assert find_slides([tmp_path], recursive=True) == [deep / "a.svs"]


def test_a_link_to_nothing_is_named(tmp_path):
    link = tmp_path / "a.svs"
    link.symlink_to("nothing.svs")
    assert with_series(found := find_slides([tmp_path]), None) == [link]
    assert output_names(found) == ["a"]
    with pytest.raises(SlideError, match=f"a.svs: {LINK}"):
        file_to_open(link, link)
