"""Levels whose sizes and scales agree with level 0, and whose pixels do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsi_idc.demo.painter import PaintedSection
from wsi_idc.slides.slide import Slide

# Of the painted section, in um/px: that of level 0 and that at which a level half its size is read.
MPP, COARSE = 4.0, 16.0


def write(path: Path, full: np.ndarray, level: np.ndarray, **tags: object) -> Path:
    with tifffile.TiffWriter(path) as tiff:
        for pixels, um, more in ((full, MPP, {}), (level, MPP * full.shape[1] / level.shape[1], tags)):
            resolution = (1e4 / um, 1e4 / um)
            tiff.write(
                np.ascontiguousarray(pixels), photometric="rgb", tile=(128, 128), compression="deflate",
                resolution=resolution, resolutionunit=3, metadata=None, subfiletype=int(pixels is level), **more,
            )  # fmt: skip
    return path


def read(path: Path) -> tuple[np.ndarray, list[str]]:
    """Return the slide at a scale at which the level is read, and what is warned of then."""
    with Slide(path) as slide:
        width, height = (round(n * MPP / COARSE) for n in slide.size)
        return slide.read(0, 0, width, height, COARSE), list(slide.warnings)


def halved(pixels: np.ndarray) -> np.ndarray:
    height, width = (n // 2 * 2 for n in pixels.shape[:2])
    return pixels[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3)).round().astype(np.uint8)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v[::-1],
        lambda v: v[:, ::-1],
        lambda v: v[::-1, ::-1],
        lambda v: np.roll(v, 60, axis=1),
        np.full_like,
    ],
    ids=["mirrored", "flipped", "turned", "shifted", "blank"],
)
def test_a_level_that_shows_something_else_is_told_and_not_used(change, section: PaintedSection, tmp_path: Path):
    full = section.pixels
    level = halved(full)
    other = np.full_like(level, 210) if change is np.full_like else change(level)
    expected, _ = read(write(tmp_path / "whole.tif", full, level))
    got, warnings = read(write(tmp_path / "other.tif", full, other))
    assert np.abs(got.astype(int) - expected).mean() < 1
    assert [w for w in warnings if "shows something else" in w and f"{level.shape[1]} x {level.shape[0]} px" in w]


def test_a_level_that_is_to_be_shown_turned(section: PaintedSection, tmp_path: Path) -> None:
    """OpenSlide would turn each of its tiles for itself."""
    full, level = section.pixels, halved(section.pixels)
    path = write(tmp_path / "s.tif", full, level[::-1], extratags=[(274, 3, 1, 4, True)])
    got, warnings = read(path)
    assert np.abs(got.astype(int) - read(write(tmp_path / "w.tif", full, level))[0]).mean() < 1 and warnings


@pytest.mark.parametrize(
    "made",
    [
        lambda v: halved(v),
        lambda v: v[: len(v) // 2 * 2 : 2, : v.shape[1] // 2 * 2 : 2],
        lambda v: np.asarray(Image.fromarray(v).resize((v.shape[1] // 2, len(v) // 2), Image.Resampling.LANCZOS)),
        lambda v: np.rint(255 * (halved(v) / 255) ** 0.9).astype(np.uint8),
        lambda v: np.clip(halved(v) + np.random.default_rng(0).normal(0, 12, halved(v).shape), 0, 255).astype(np.uint8),
    ],
    ids=["means", "nearest", "lanczos", "gamma", "noise"],
)
def test_a_level_made_in_any_way_is_used(made, section: PaintedSection, tmp_path: Path) -> None:
    path = write(tmp_path / "s.tif", section.pixels, made(section.pixels))
    with Slide(path) as slide:
        assert slide.best_level(COARSE) == 1 and slide.warnings == ()


def test_an_empty_slide_keeps_its_levels(tmp_path: Path) -> None:
    full = np.full((600, 750, 3), 240, np.uint8)
    with Slide(write(tmp_path / "s.tif", full, np.full((300, 375, 3), 243, np.uint8))) as slide:
        assert slide.best_level(COARSE) == 1
