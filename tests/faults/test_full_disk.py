"""A disk that is full, or fails, says so and where; what was computed stays, and a folder run stops at once."""

import csv
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wsi_idc
from wsi_idc.demo.painter import paint_section
from wsi_idc.errors import DiskError, SlideError, UnreachableError
from wsi_idc.heatmap import stream
from wsi_idc.inference.predictor import Predictor
from wsi_idc.runs import steps
from wsi_idc.runs.batch import segment_slides
from wsi_idc.runs.upkeep.verify import verify
from wsi_idc.slides.write import write_slide

from helpers import contents

SETTINGS = wsi_idc.Settings(chunk=2, threads=1)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    section = paint_section(1.6, 1.6, 4.0, seed=3)
    return write_slide(tmp_path_factory.mktemp("small") / "s.tif", section.pixels, 4.0, compression="deflate")


@pytest.fixture(scope="module", autouse=True)
def _small_packs():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stream, "_BATCHES", 0.25)
        yield


@pytest.fixture(scope="module")
def whole(slide, tmp_path_factory):
    return run([slide], tmp_path_factory.mktemp("whole"))[slide]


@pytest.fixture
def encoded(monkeypatch):
    """The number of chunks that are encoded."""
    counts, real = [0], Predictor.features_of

    def features_of(self, blocks):
        counts[0] += len(blocks)
        return real(self, blocks)

    monkeypatch.setattr(Predictor, "features_of", features_of)
    return counts


def run(slides, out):
    return segment_slides(slides, out, wsi_idc.find_model("idc-patch"), SETTINGS)


def fill(patched, out, size, number=errno.ENOSPC):
    """Let a disk be full, or fail, once so many bytes were written to files below `out`."""
    left, real = [size], Path.open

    def opened(self, mode="r", *args, **kwargs):
        file = real(self, mode, *args, **kwargs)
        if mode.startswith("r") or out not in self.parents:
            return file
        write = file.write

        def counted(data):
            left[0] -= len(data)
            if left[0] < 0:
                raise OSError(number, os.strerror(number))
            return write(data)

        file.write = counted
        return file

    patched.setattr(Path, "open", opened)
    return left


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.6, 0.7, 0.85, 0.95, 0.999])
def test_full_at_any_point_it_says_so_and_goes_on(slide, whole, tmp_path, monkeypatch, encoded, share):
    with monkeypatch.context() as patched:
        left = fill(patched, tmp_path / "all", 1 << 40)
        run([slide], tmp_path / "all")
    written, all_chunks = (1 << 40) - left[0], encoded[0]
    out = tmp_path / "out"
    encoded[0] = 0
    with monkeypatch.context() as patched, pytest.raises(DiskError, match=r"out.*: no space left on the disk at /"):
        fill(patched, out, int(written * share))
        run([slide], out)
    kept = len(list(out.glob("s/.unfinished/features*/*.f32")))
    assert not list(out.rglob("summary.json")), "nothing half written"
    encoded[0] = 0
    result = run([slide], out)[slide]
    assert encoded[0] <= all_chunks - kept + 4, "those in flight at most are computed again"
    assert contents(result.folder) == contents(whole.folder)
    assert verify(out).whole
    assert [p.name for p in result.folder.iterdir() if p.name.startswith(".")] == [".lock"]


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EDQUOT, "quota"), (errno.EIO, "Input/output error"), (errno.ESTALE, "Stale")]
)
def test_quotas_and_network_drives_alike(slide, tmp_path, monkeypatch, encoded, number, said):
    out = tmp_path / "out"

    def away(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched, pytest.raises(DiskError, match=rf"out/s: .*{said}.*run again"):
        patched.setattr(steps, "draw_overview", away)
        run([slide], out)
    (row,) = csv.DictReader((out / "manifest.csv").open())
    assert (row["state"], said in row["reason"]) == ("pending", True)
    encoded[0] = 0
    assert run([slide], out)[slide].summary["state"] == "done"
    assert encoded[0] == 0


def test_moving_results_that_fails_is_finished_by_the_next_run(slide, whole, tmp_path, monkeypatch):
    """Half of the new ones beside half of the old ones would be a run that never was."""
    out, real = tmp_path / "out", Path.replace
    other = wsi_idc.Settings(threshold=0.9)
    segment_slides([slide], out, wsi_idc.find_model("idc-patch"), other)

    def fails(self, target):
        if self.parent.name == ".partial" and self.name == "report.html":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, target)

    again = wsi_idc.Settings(chunk=2, threads=1, overwrite=True)
    with monkeypatch.context() as patched, pytest.raises(DiskError, match="fails, run again"):
        patched.setattr(Path, "replace", fails)
        segment_slides([slide], out, wsi_idc.find_model("idc-patch"), again)
    assert not verify(out).whole
    assert run([slide], out)[slide].reused
    assert contents(out / "s") == contents(whole.folder)
    assert verify(out).whole


def test_a_slide_on_a_drive_that_goes_away_keeps_what_was_computed(slide, tmp_path, monkeypatch, encoded):
    drive = tmp_path / "drive"
    drive.mkdir()
    there = Path(shutil.copy(slide, drive / "s.tif"))
    outline = wsi_idc.runs.run.outline

    def meanwhile(work):
        outline(work)
        drive.rename(tmp_path / "away")

    with monkeypatch.context() as patched:
        patched.setattr("wsi_idc.runs.run.outline", meanwhile)
        found = run([there], tmp_path / "out")[there]
    assert isinstance(found, UnreachableError) and isinstance(found, SlideError)
    (tmp_path / "away").rename(drive)
    encoded[0] = 0
    assert run([there], tmp_path / "out")[there].summary["state"] == "done"
    assert encoded[0] == 0


def command(slides, out, *before):
    arguments = [
        sys.executable,
        "-m",
        "wsi_idc",
        "segment",
        *slides,
        "-o",
        out,
        "--model",
        "idc-patch",
        "--workers",
        "2",
    ]
    return [*before, *map(str, arguments)]


def test_a_folder_run_stops_and_the_rest_is_pending(slide, tmp_path):
    """No file larger than 100 kB may be written: as a full disk, without one."""
    resource = pytest.importorskip("resource")
    slides = [Path(shutil.copy(slide, tmp_path / f"{n}.tif")) for n in range(4)]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        command(slides, tmp_path / "out"),
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "cannot be written (File too large)" in line
    assert "4 of 4 slides are still to be done" in line
    rows = list(csv.DictReader((tmp_path / "out" / "manifest.csv").open()))
    assert [row["state"] for row in rows] == ["pending"] * 4


def test_on_a_real_full_disk(slide, tmp_path):
    """A small disk in memory, mounted where nobody else sees it."""
    slides = [Path(shutil.copy(slide, tmp_path / f"{n}.tif")) for n in range(3)]
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=4m tmpfs "$0" || exit 77; "$@"; code=$?; cat "$0/out/manifest.csv"; exit $code'
    try:
        done = subprocess.run(
            command(slides, disk / "out", "unshare", "-m", "sh", "-c", script, str(disk)),
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no disk may be mounted here")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"no space left on the disk at {disk} (" in line
    assert "slides are still to be done" in line
    table = done.stdout[done.stdout.index("slide,state") :]
    rows = list(csv.DictReader(table.splitlines()))
    assert {row["state"] for row in rows} <= {"done", "pending"}
    assert "pending" in [row["state"] for row in rows]
