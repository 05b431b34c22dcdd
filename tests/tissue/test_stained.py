"""Pen ink of dark hues on glass and over tissue: told from stain, or warned of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from wsi_idc.base.optical_density import optical_density
from wsi_idc.demo.painter import CLASSES, PaintedSection
from wsi_idc.tissue.tissue import TissueMap, find_tissue

from tissue.scans import Scan, as_jpeg, painted_mm2, scanned

GLASS = (243, 242, 244)
UNSURE = "without texture and dark or blue"


def penned(
    section: PaintedSection, colour: tuple[int, int, int], glass: int = 243, alike: float = 1.0, streaks: float = 0.0
) -> TissueMap:
    """Look at a section below which a bar of pen ink of 0.4 mm lies on the glass; ink that was painted is left."""
    pixels = scanned(section, glass)
    extra = np.full((140, *pixels.shape[1:]), np.array(GLASS) * glass // 243, np.uint8)
    rng = np.random.default_rng(0)
    ink = optical_density(np.array(colour), np.array(GLASS)) * alike
    height, width = 100, pixels.shape[1] - 80
    uneven = 1 + 15 * streaks * gaussian_filter(rng.standard_normal((height, width)), 6)
    bar = extra[20:120, 40:-40] * 10 ** -(ink * uneven[..., None]) + 2 * rng.standard_normal((height, width, 3))
    extra[20:120, 40:-40] = np.rint(bar).clip(0, 255)
    return find_tissue(Scan(as_jpeg(np.concatenate([pixels, extra]))))


@pytest.mark.parametrize("glass", [243, 200, 160])
@pytest.mark.parametrize(
    "colour",
    [(20, 25, 70), (15, 15, 50), (25, 28, 85), (40, 45, 110), (10, 60, 30), (20, 60, 40), (30, 30, 35), (10, 10, 12)],
)
@pytest.mark.parametrize("streaks", [0.0, 0.1])
def test_dark_pen_of_any_hue_on_the_glass_is_no_tissue(
    section: PaintedSection, colour: tuple[int, int, int], glass: int, streaks: float
) -> None:
    found = penned(section, colour, glass, streaks=streaks)
    assert found.tissue_mm2 == pytest.approx(painted_mm2(section), rel=0.05)
    assert found.ink_mm2 > 0.3


@pytest.mark.parametrize(
    "colour", [(80, 10, 15), (150, 30, 60), (45, 15, 15), (60, 20, 80), (110, 110, 160), (30, 25, 80)]
)
def test_what_may_be_pen_and_may_be_stain_is_warned_of(section: PaintedSection, colour: tuple[int, int, int]) -> None:
    found = penned(section, colour)
    right = found.tissue_mm2 == pytest.approx(painted_mm2(section), rel=0.05)
    assert right or any(UNSURE in warning for warning in found.warnings)


@pytest.mark.parametrize("strength", [1.0, 1.7, 2.5])
@pytest.mark.parametrize("stray", [0.0, 0.05])
def test_strong_haematoxylin_is_neither_ink_nor_warned_of(
    section: PaintedSection, strength: float, stray: float
) -> None:
    glass = np.array(GLASS)
    clean = np.where((section.labels == CLASSES.index("ink"))[..., None], glass, section.pixels)
    through = 10 ** -(strength * optical_density(clean, glass))
    pixels = (through + stray) / (1 + stray) * glass
    found = find_tissue(Scan(np.rint(pixels).clip(0, 255).astype(np.uint8)))
    assert found.ink_mm2 < 0.01 and found.warnings == ()
    assert found.tissue_mm2 == pytest.approx(painted_mm2(section), rel=0.08)


def test_a_patch_of_dense_nuclei_is_tissue(section: PaintedSection) -> None:
    """A lymph follicle: nuclei of 7 um that touch, of pure haematoxylin, 1 mm wide."""
    rng = np.random.default_rng(1)
    pixels = scanned(section, 243).astype(float)
    dense = 0.8 + 0.25 * gaussian_filter(rng.standard_normal((250, 250)), 0.8) * 2.5
    stain = 10 ** -(dense[..., None] * np.array([0.60, 0.72, 0.34]))
    top, left = (n // 2 - 125 for n in pixels.shape[:2])
    pixels[top : top + 250, left : left + 250] = GLASS * stain
    found = find_tissue(Scan(np.rint(pixels).clip(0, 255).astype(np.uint8)))
    assert found.mask[top // 2 + 2 : top // 2 + 123, left // 2 + 2 : left // 2 + 123].all()
    assert not any(UNSURE in warning for warning in found.warnings)
