from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.demo.painter import CLASSES, PaintedSection
from wsi_idc.tissue.bands import Bands
from wsi_idc.tissue.light import find_light
from wsi_idc.tissue.tissue import TissueMap, find_tissue

from tissue.scans import Scan, as_jpeg, padded, painted_mm2, scanned

WHITE = (255, 255, 255)


def look_at(pixels: np.ndarray) -> TissueMap:
    return find_tissue(Scan(pixels))


def right_or_warned(found: TissueMap, section: PaintedSection) -> bool:
    return bool(found.warnings) or found.tissue_mm2 == pytest.approx(painted_mm2(section), rel=0.05)


@pytest.mark.parametrize("glass", [150, 175, 200, 225, 243, 255])
@pytest.mark.parametrize("light", ["even", "radial", "left"])
def test_glass_of_any_brightness_and_light_that_falls_off(section: PaintedSection, glass: int, light: str) -> None:
    found = look_at(scanned(section, glass, light))
    assert found.warnings == () and right_or_warned(found, section)


@pytest.mark.parametrize("light", ["centre", "corner", "columns"])
def test_other_ways_of_light(section: PaintedSection, light: str) -> None:
    assert right_or_warned(look_at(scanned(section, 190, light)), section)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize(("where", "share"), [("around", 0.4), ("right", 0.6), ("below", 0.2)])
@pytest.mark.parametrize("glass", [165, 225, 240])
@pytest.mark.parametrize("jpeg", [False, True])
def test_padding_is_neither_glass_nor_ink(
    section: PaintedSection, glass: int, where: str, share: float, value: int, jpeg: bool
) -> None:
    pixels = padded(scanned(section, glass), where, share, value)
    found = look_at(as_jpeg(pixels) if jpeg else pixels)
    ink = (section.labels == CLASSES.index("ink")).sum() * 16e-6
    assert found.warnings == () and right_or_warned(found, section)
    assert found.ink_mm2 == pytest.approx(ink, abs=0.06)


@pytest.mark.parametrize(("value", "where"), [(255, "right"), (0, "around")])
@pytest.mark.parametrize(("glass", "tenths"), list(zip(range(150, 256, 15), [6, 1, 4, 2, 5, 3, 6, 0], strict=True)))
def test_light_that_falls_off_beside_padding(
    section: PaintedSection, glass: int, tenths: int, value: int, where: str
) -> None:
    """A part of what `benchmarks/glass.py` tries, in which 0 of 600 were wrong."""
    found = look_at(padded(scanned(section, glass, "radial"), where, tenths / 10, value))
    assert found.warnings == () and right_or_warned(found, section)


@settings(max_examples=15)
@given(
    st.integers(150, 255),
    st.sampled_from(["even", "radial", "centre", "left", "corner"]),
    st.sampled_from(["around", "right", "below"]),
    st.floats(0, 0.6),
    st.sampled_from([0, 255]),
    st.booleans(),
)
def test_all_of_it_together(
    section: PaintedSection, glass: int, light: str, where: str, share: float, value: int, jpeg: bool
) -> None:
    pixels = padded(scanned(section, glass, light), where, share, value)
    assert right_or_warned(look_at(as_jpeg(pixels) if jpeg else pixels), section)


@pytest.mark.parametrize("gap", [0, 255])
def test_two_sections_with_glass_of_their_own(section: PaintedSection, gap: int) -> None:
    first, second = (scanned(section, glass) for glass in (240, 170))
    between = np.full((len(first), 150, 3), gap, np.uint8)
    found = look_at(np.concatenate([first, between, second], 1))
    assert found.warnings == () and found.tissue_mm2 == pytest.approx(2 * painted_mm2(section), rel=0.05)


def test_holes_of_the_tissue_may_outshine_the_glass(section: PaintedSection) -> None:
    """Fat cells and ducts of the painter are as bright as its own glass."""
    pixels = section.pixels.copy()
    glass = section.labels == CLASSES.index("glass")
    pixels[glass] = np.rint(pixels[glass] * (215 / 243))
    for image in (pixels, padded(pixels, "around", 0.5, 255)):
        found = look_at(image)
        assert found.warnings == () and right_or_warned(found, section)


def test_a_grey_line_is_no_tissue(section: PaintedSection) -> None:
    """The edge of a coverslip, straight through the section."""
    before = look_at(section.pixels)
    pixels = section.pixels.copy()
    for line in (np.s_[100:110], np.s_[:, 40:48]):
        pixels[line] = np.rint(pixels[line] * 0.65)
    found = look_at(pixels)
    assert found.warnings == () and found.tissue_mm2 == pytest.approx(before.tissue_mm2, rel=0.02)
    assert found.ink_mm2 == pytest.approx(before.ink_mm2, abs=0.02)


def test_overexposed_glass_is_glass(section: PaintedSection) -> None:
    """White where the section borders on it was scanned, whatever else is flat and grey: here a frosted end."""
    pixels = np.minimum(section.pixels.astype(int) * 255 // 238, 255).astype(np.uint8)
    pixels[section.labels == CLASSES.index("glass")] = 255
    pixels = np.concatenate([pixels, np.full((len(pixels), 200, 3), 190, np.uint8)], 1)
    found = look_at(pixels)
    assert found.warnings == () and right_or_warned(found, section)


def test_a_section_without_glass_is_doubtful() -> None:
    rng = np.random.default_rng(0)
    pixels = (np.array([200, 150, 185]) + 6 * rng.standard_normal((300, 400, 3))).round().astype(np.uint8)
    assert "100% of what was scanned would be tissue" in look_at(pixels).warnings[0]


@pytest.mark.parametrize(("where", "value"), [("around", 255), ("right", 255), ("below", 0)])
def test_padding_is_no_glass_that_would_set_a_section_without_any_at_rest(where: str, value: int) -> None:
    rng = np.random.default_rng(0)
    pixels = (np.array([200, 150, 185]) + 6 * rng.standard_normal((304, 400, 3))).round().astype(np.uint8)
    (warning,) = look_at(padded(pixels, where, 0.5, value)).warnings
    assert "of what was scanned would be tissue" in warning


def test_a_section_put_together_from_patches_is_in_order(section: PaintedSection) -> None:
    """Patches without much tissue are left out, and white: so are the sections of the IDC set."""
    patches = np.full((600, 750, 3), 255, np.uint8)
    for top, left in np.ndindex(12, 15):
        part = np.s_[50 * top : 50 * top + 50, 50 * left : 50 * left + 50]
        if (section.labels[part] > 0).mean() > 0.5:
            patches[part] = section.pixels[part]
    assert look_at(patches).warnings == ()


def test_glass_that_is_guessed_is_said_to_be() -> None:
    rng = np.random.default_rng(0)
    pixels = np.full((400, 400, 3), 245, np.uint8)
    pixels += rng.integers(-45, 1, (400, 400, 1)).astype(np.uint8)  # never flat
    pixels[100:300, 100:300] = (150, 90, 140)
    light = find_light(pixels, np.zeros((400, 400), bool), WHITE, Bands(400, 1))
    assert not light.told and light.padding is None


def test_the_light_under_a_section_is_that_around_it() -> None:
    """Glass of 200 on the left, of 160 on the right, and stain between."""
    pixels = np.full((160, 480, 3), 200, np.uint8)
    pixels[:, 240:] = 160
    pixels[:, 160:320] = np.random.default_rng(0).integers(60, 190, (160, 160, 3), dtype=np.uint8)
    light = find_light(pixels, np.zeros((160, 480), bool), WHITE, Bands(160, 1))
    assert light.told and light.shift is not None and light.glass is not None
    excess = light.excess(np.array([80]), np.array([40, 200, 280, 440]))[1][0]
    over = excess + np.log10(201 / (light.glass[1] + 1))
    assert over[0] == pytest.approx(0, abs=0.002) and over[3] == pytest.approx(np.log10(201 / 161), abs=0.002)
    assert over[1] < 0.04 < over[2]
