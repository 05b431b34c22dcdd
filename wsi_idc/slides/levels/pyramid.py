"""Which images of a file are smaller copies of the same view, and how much smaller each really is."""

from __future__ import annotations

import math
from dataclasses import dataclass

# How far what is stated and the sizes in pixels may be apart.
TOLERANCE = 0.01
# Rounding of a size, in pixels: up, down, and once more where a level was made of the level before it.
_ROUNDING = 1.5

# Levels of more tiles a side than this were not made by a downsample a quarter larger than their sizes tell: writers
# take none in between.
_FEW_TILES = 4

# One side of level 0 and of a level in pixels, and that of their tiles.
_Side = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of an image in pixels, the tiles it is stored in, (0, 0) without, and its stated um per pixel."""

    width: int
    height: int
    tile: tuple[int, int] = (0, 0)
    mpp: tuple[float, float] | None = None


def downsample_of(level: Shape, full: Shape, *, marked: bool = True) -> float | None:
    """Return how many pixels of `full` a pixel of `level` spans, or None where it is no smaller copy of it.

    What the two state of their um per pixel counts, where they do: levels may be padded to whole tiles, by which their
    sizes alone are off. The sizes have to agree with it, and with one another, to a percent or to the rounding of a
    pixel. Many writers copy the scale of level 0 to all levels: such a one tells nothing, where the image is `marked`
    as a smaller copy; where it is not, it is another image.
    """
    if not 0 < level.width <= full.width or not 0 < level.height <= full.height:
        return None
    quotients = (full.width / level.width, full.height / level.height)
    mean = sum(quotients) / 2
    stated = _stated(level, full)
    if stated is not None and abs(stated - 1) <= TOLERANCE and max(quotients) > 1 + 2 * TOLERANCE:
        if not marked:
            return None
        stated = None
    sizes = (
        (full.width, level.width, full.tile[0], level.tile[0]),
        (full.height, level.height, full.tile[1], level.tile[1]),
    )
    if stated is None:
        if _only_padded(sizes):
            return None
        near = max(quotients) / min(quotients) - 1 <= TOLERANCE
        return mean if near or _same_ratio(sizes) else None
    if all(abs(whole / stated - part) < _ROUNDING for whole, part, _, _ in sizes):
        return mean
    if all(_fits_padded(*size, stated) for size in sizes):
        return stated
    near = all(abs(quotient / stated - 1) <= TOLERANCE for quotient in quotients)
    return mean if near else None


def may_be_padded(level: Shape, full: Shape) -> bool:
    """Say whether a smaller copy of `full` may be padded to whole tiles, though its size is a whole fraction.

    Of 2048 px a level of 256 px in a tile of 256 px is an eighth, or a sixteenth that fills a quarter of its tile. Only
    a scale of its own tells; without it a copy of more than a few tiles is hardly ever padded by so much.
    """
    stated = _stated(level, full)
    if stated is not None and abs(stated - 1) > TOLERANCE:
        return False
    sizes = ((level.width, level.tile[0]), (level.height, level.tile[1]))
    return all(tile > 0 and part % tile == 0 and part <= _FEW_TILES * tile for part, tile in sizes)


def _stated(level: Shape, full: Shape) -> float | None:
    """Return the quotient of the stated scales, or None where one is not stated or the axes differ."""
    if level.mpp is None or full.mpp is None:
        return None
    x, y = level.mpp[0] / full.mpp[0], level.mpp[1] / full.mpp[1]
    # Axes that differ contradict each other: no size agrees with that.
    return round((x + y) / 2, 6) if abs(x / y - 1) <= TOLERANCE else math.inf


def _fits_padded(whole: int, part: int, whole_tile: int, tile: int, downsample: float) -> bool:
    """Say whether a side is what `downsample` makes of it, but for padding to whole tiles, of either image."""
    if math.isinf(downsample):
        return False
    if abs(whole / downsample - part) < _ROUNDING:
        return True
    if not tile or part % tile:
        return False
    padding = whole_tile if whole_tile and whole % whole_tile == 0 else 0
    least = (whole - padding) / downsample - _ROUNDING
    return least < part < whole / downsample + _ROUNDING + tile


def _same_ratio(sizes: tuple[_Side, ...]) -> bool:
    """Say whether the rounding of sizes explains why their quotients differ."""
    low = max(whole / (part + _ROUNDING) for whole, part, _, _ in sizes)
    high = min(whole / max(part - _ROUNDING, 0.5) for whole, part, _, _ in sizes)
    return low <= high


def _only_padded(sizes: tuple[_Side, ...]) -> bool:
    """Say whether sizes are whole tiles that no whole downsample explains, so that they do not tell the scale."""
    whole_tiles = all(tile and part % tile == 0 for _, part, _, tile in sizes)
    downsample = round(sizes[0][0] / sizes[0][1])
    return whole_tiles and not all(abs(whole / downsample - part) < _ROUNDING for whole, part, _, _ in sizes)
