from __future__ import annotations

import numpy as np
import pytest

from wsi_idc.demo.painter import PaintedSection
from wsi_idc.tissue.stain import BLUE, BROWN, DARK, GREYSCALE, INVERTED, PALE, SWAPPED
from wsi_idc.tissue.tissue import find_tissue

from tissue.scans import Scan, scanned


def warnings_of(pixels: np.ndarray) -> tuple[str, ...]:
    return find_tissue(Scan(pixels)).warnings


def stained(section: PaintedSection, first: tuple[float, ...], second: tuple[float, ...]) -> np.ndarray:
    """Stain a section anew: its eosin by the optical densities `first`, its haematoxylin by `second`, of R, G and B."""
    painters = np.array([(0.09, 0.82, 0.45), (0.60, 0.72, 0.34)])
    density = -np.log((section.pixels + 1.0) / 244)
    amounts = (density.reshape(-1, 3) @ np.linalg.pinv(painters)).clip(0, None)
    light = 243 * np.exp(-amounts @ np.array([first, second]))
    return np.rint(light).reshape(section.pixels.shape).astype(np.uint8)


@pytest.mark.parametrize("glass", [160, 243])
@pytest.mark.parametrize("strength", [0.7, 1.0, 1.5])
def test_h_and_e_is_not_warned_of(section: PaintedSection, glass: int, strength: float) -> None:
    pixels = 255 * (scanned(section, 243) / 255) ** strength * (glass / 243)
    assert warnings_of(np.rint(pixels).clip(0, 255).astype(np.uint8)) == ()


@pytest.mark.parametrize("glass", [160, 243])
def test_swapped_channels(section: PaintedSection, glass: int) -> None:
    assert warnings_of(scanned(section, glass)[..., ::-1]) == (SWAPPED,)


@pytest.mark.parametrize("counterstain", [(0.27, 0.57, 0.78), (0.65, 0.70, 0.29)], ids=["DAB", "DAB on haematoxylin"])
def test_brown_stain(section: PaintedSection, counterstain: tuple[float, ...]) -> None:
    assert warnings_of(stained(section, (0.27, 0.57, 0.78), counterstain)) == (BROWN,)


def test_blue_stain_alone(section: PaintedSection) -> None:
    assert BLUE in warnings_of(stained(section, (0.65, 0.70, 0.29), (0.65, 0.70, 0.29)))


def test_faint_stain(section: PaintedSection) -> None:
    faint = 243 * (section.pixels / 243) ** 0.3
    assert warnings_of(np.rint(faint).astype(np.uint8)) == (PALE,)


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.0, 0.98, 0.95)])
def test_greyscale(section: PaintedSection, tint: tuple[float, ...]) -> None:
    grey = section.pixels.mean(axis=2, keepdims=True) * np.array(tint)
    assert warnings_of(np.rint(grey).astype(np.uint8)) == (GREYSCALE,)


@pytest.mark.parametrize("strength", [1.0, 2.0])
@pytest.mark.parametrize("glass", [200, 243])
def test_a_negative(section: PaintedSection, strength: float, glass: int) -> None:
    pixels = 243 * (scanned(section, 243) / 243) ** strength * (glass / 243)
    found = find_tissue(Scan(255 - np.rint(pixels).clip(0, 255).astype(np.uint8)))
    assert found.warnings == (INVERTED,) and not found.mask.any()


def test_a_dark_field_is_no_negative(section: PaintedSection) -> None:
    assert warnings_of((255 - section.pixels) // 4) == (DARK,)
    blue = np.zeros_like(section.pixels)
    blue[..., 2] = 255 - section.pixels[..., 1]
    assert warnings_of(blue) == (DARK,)


@pytest.mark.parametrize("glass", [160, 243])
def test_red_and_green_swapped_look_like_ink(section: PaintedSection, glass: int) -> None:
    (warning,) = (w for w in warnings_of(scanned(section, glass)[..., [1, 0, 2]]) if "ink" in w)
    assert "channels are swapped" in warning


@pytest.mark.parametrize("value", [255, 243])
def test_an_image_that_shows_nothing(value: int) -> None:
    (warning,) = warnings_of(np.full((300, 400, 3), value, np.uint8))
    assert "all of the image is of one colour" in warning
