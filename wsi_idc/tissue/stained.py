"""Which pixels of a picture of a slide are ink, and which are stained, over the glass beside them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from wsi_idc.tissue.bands import Bands, hysteresis, without_small
from wsi_idc.tissue.light import Light

# Optical density (log10) of the stain that green light sees, over the glass: certain tissue, and tissue beside it.
STRONG_DENSITY, WEAK_DENSITY = 0.06, 0.045
# Walls of fat cells are 60 to 120 um apart; closing by an octagon of a radius of 56 um (this many steps to all eight
# neighbours, and to the four) fills the cells and keeps the gaps of the glass.
_CLOSE = (3, 4)
# How many rows away `closed` looks at most.
CLOSING_REACH = 2 * sum(_CLOSE) + 2
# Absorbing so much red light, and at least this share of what it absorbs of green: dark pen of any hue, in parts of so
# many pixels (0.02 mm2). Folds and dense nuclei are so in parts of at most 23, of 666 pictures of real H&E sections; of
# 115 where they are stained twice as strongly, also with stray light of 8 %.
_DARK_RED, _DARK_RATIO, _DARK_PART = 0.6, 0.95, 312
_DISK_2 = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
# What absorbs the three colours alike but for this share is grey: H&E differs by half. Grey parts of so many pixels
# (0.01 mm2) are edges of coverslips, hairs and shadows, unless so much of what is dark is grey: then the slide is.
_GREY_SHARE, _GREY_PART, _GREY_SLIDE = 0.25, 156, 0.5
# Padding blurs into the pixels beside it, by so many where it is compressed with them.
_RIM = 4
# Brighter than glass by so much (optical density), and beside stain, is a hole of the tissue.
_BRIGHTER = 0.03


def rim_of(light: Light, bands: Bands) -> np.ndarray | None:
    """Return padding with the pixels that it may have blurred into, (h, w) bool, None where all was scanned."""
    if light.padding is None:
        return None
    return bands.over(light.padding, lambda part: ndimage.binary_dilation(part, iterations=_RIM), _RIM)


def find_ink(pixels: np.ndarray, light: Light, rim: np.ndarray | None, bands: Bands) -> np.ndarray:
    """Find pen ink on `pixels` (h, w, 3) uint8 at 8 um/px, (h, w) bool; none within `rim`.

    Haematoxylin and eosin absorb red light less than green: on real sections red / green is 0.3 to 0.5, and above 0.9
    in less than 1 % of stained pixels. Pen absorbs red more, or all light, or is darker than nuclei over a large part.
    """
    # 0 is no ink, 1 may be, 2 surely is.
    level = np.zeros(pixels.shape[:2], np.uint8)
    dark = np.zeros(level.shape, bool)
    columns, densities = np.arange(pixels.shape[1]), light.densities()

    def look(rows: slice) -> None:
        excess = light.excess(np.arange(rows.start, rows.stop), columns)
        red, green, blue = (densities[i][pixels[rows, :, i]] - excess[i] for i in range(3))
        darkest = np.minimum(np.minimum(red, green), blue)
        sure = ((red > 1.2 * green) & (red > 0.2)) | (darkest > 0.8)
        level[rows] = ((red > green) & (red > 0.15)) | (darkest > 0.6)
        level[rows][sure] = 2
        dark[rows] = (red > _DARK_RED) & (red > _DARK_RATIO * green)

    bands.each(look)
    if rim is not None:
        level[rim] = 0
        dark[rim] = False
    if dark.any():
        level[without_small(bands.over(dark, _without_fine, 5), _DARK_PART)] = 2
    if level.max() < 2:
        return np.zeros(level.shape, bool)
    # What is sure but fine, as hairs are, may be at best.
    level[bands.over(level, lambda part: (part == 2) & ~_without_fine(part == 2), 5)] = 1
    return bands.over(hysteresis(level), ndimage.binary_dilation, 1)


def _without_fine(mask: np.ndarray) -> np.ndarray:
    return ndimage.binary_opening(mask, _DISK_2)


def find_stain(pixels: np.ndarray, light: Light, ink: np.ndarray, rim: np.ndarray | None, bands: Bands) -> np.ndarray:
    """Find what is stained on `pixels` (h, w, 3) uint8 at 8 um/px, (h, w) bool: weakly, connected with strongly.

    Neither `ink` is nor what is grey, nor padding.
    """
    # 0 is none, 1 weak, 2 strong.
    level = np.zeros(ink.shape, np.uint8)
    holes = np.zeros(ink.shape, bool)
    # 0 is no stain of its own, 1 grey, 2 coloured.
    kind = np.zeros(ink.shape, np.uint8)
    columns, densities = np.arange(pixels.shape[1]), light.densities()

    def look(rows: slice) -> None:
        top = max(0, rows.start - 1)
        around = slice(top, min(rows.stop + 1, len(pixels)))
        within = slice(rows.start - top, rows.stop - top)
        excess = light.excess(np.arange(around.start, around.stop), columns)
        stain = densities[1][pixels[around, :, 1]] - excess[1]
        stain[ink[around]] = 0
        if light.padding is not None:
            stain[light.padding[around]] = 0
        # Averaging over 3x3 keeps noise of the glass below the weak threshold.
        green = ndimage.uniform_filter(stain, 3, mode="nearest")[within]
        np.add(green > WEAK_DENSITY, green > STRONG_DENSITY, out=level[rows], dtype=np.uint8)
        holes[rows] = green < -_BRIGHTER
        red, blue = (densities[c][pixels[around, :, c]] - excess[c] for c in (0, 2))
        most = np.maximum(np.maximum(red, blue), stain)
        least = np.minimum(np.minimum(red, blue), stain)
        kind[rows] = (np.where(most - least < _GREY_SHARE * most, 1, 2) * (stain > WEAK_DENSITY))[within]

    bands.each(look)
    if light.told and holes.any():
        # With the pixels between them and the stain around.
        within_tissue = bands.over(holes, _with_neighbours, 1) & (level == 0)
        level[within_tissue if rim is None else within_tissue & ~rim] = 1
    grey = (kind == 1) & (level > 0)
    if grey.any() and grey.sum() < _GREY_SLIDE * np.count_nonzero(level):
        # With what the averaging made of the glass beside it.
        parts = bands.over(without_small(grey, _GREY_PART), _with_neighbours, 1)
        level[parts & (kind < 2)] = 0
    return hysteresis(level)


def _with_neighbours(mask: np.ndarray) -> np.ndarray:
    return _grown(mask, 1, 0)


def closed(mask: np.ndarray) -> np.ndarray:
    """Close a mask by an octagon, then open it by a cross; what is beyond its borders counts for nothing."""
    filled = ~_grown(~_grown(mask, *_CLOSE), *_CLOSE)
    return _grown(~_grown(~filled, 0, 1), 0, 1)


def _grown(mask: np.ndarray, squares: int, crosses: int) -> np.ndarray:
    """Dilate a mask so many steps to all eight neighbours, then to the four: as SciPy does, in a tenth of the time."""
    for step in range(squares + crosses):
        rows = mask.copy()
        rows[1:] |= mask[:-1]
        rows[:-1] |= mask[1:]
        source = rows if step < squares else mask
        mask = rows.copy()
        mask[:, 1:] |= source[:, :-1]
        mask[:, :-1] |= source[:, 1:]
    return mask
