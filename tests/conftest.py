from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import tifffile
from hypothesis import settings

from wsi_idc.demo.painter import PaintedSection, paint_section
from wsi_idc.slides.write import write_slide

from helpers import SMALL, write_patches

# What a shell starts in its background heeds no Ctrl-C, nor do processes begun from there: those of tests have to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that is busy takes longer: no test is to fail for that.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def no_lines_of_progress() -> Iterator[None]:
    """On a busy machine what ends in a moment takes half a minute, and stderr would say how far it is."""
    from wsi_idc.cli import progress

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(progress, "_EVERY_S", float("inf"))
        yield


@pytest.fixture
def levels_of_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read levels whatever they show, as those of noise, in which a level that was taken shows."""
    monkeypatch.setattr("wsi_idc.slides.levels.likeness.Likeness.holds", lambda self, level: True)


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(os.environ.get("WSI_IDC_DATA") or Path(__file__).parents[2] / "shared")
    if not (folder / "slides").is_dir():
        pytest.skip(f"no real slides under {folder}")
    return folder


@pytest.fixture(scope="session")
def section() -> PaintedSection:
    return paint_section(3.0, 2.4, 4.0, seed=1)


@pytest.fixture(scope="session")
def painted(section: PaintedSection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("painted") / "painted.tif"
    return write_slide(path, section.pixels, section.mpp, downsamples=(1, 4), compression="deflate")


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patches of 16 pixels: train patients of the official split, an unlisted one, val and test patients."""
    patients = ["8865", "8913", "8915", "99999", "8867", "8914", "8917", "8864"]
    return write_patches(tmp_path_factory.mktemp("patches"), patients)


@pytest.fixture(scope="session")
def few_resamples() -> Iterator[None]:
    """Let trainings take their intervals from 20 draws: 1000 take longer than a small training."""
    from wsi_idc.training import calibrate

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(calibrate, "patient_bootstrap", partial(calibrate.patient_bootstrap, resamples=20))
        yield


@pytest.fixture(scope="session")
def trained(few_resamples: None, patches: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small training, which tests share and so must not change."""
    from wsi_idc.training.config import read_config
    from wsi_idc.training.run import train

    run = tmp_path_factory.mktemp("trained") / "run"
    train(patches, read_config(None, [*SMALL, "fit.epochs=5"]), run)
    return run


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


@pytest.fixture
def damaged(section: PaintedSection, tmp_path: Path) -> Path:
    """A slide with one JPEG tile overwritten, in the middle of the section."""
    path = write_slide(tmp_path / "damaged.tif", section.pixels, section.mpp, downsamples=(1,), compression="jpeg")
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        across = -(-page.imagewidth // page.tilewidth)
        start, count = page.dataoffsets[across + 1], page.databytecounts[across + 1]
    with path.open("r+b") as stream:
        stream.seek(start)
        stream.write(b"\0" * count)
    return path
