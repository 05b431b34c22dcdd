"""What a person looks at first: overview.png, the slide with its regions and with its heat colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from imagecodecs import PNG, png_encode
from PIL import Image, ImageDraw, ImageFont

from wsi_idc.grid import Grid
from wsi_idc.regions.regions import Region

_OUTLINE, INK = (0, 160, 0), (30, 30, 30)
# Longest sides of a panel in pixels: beside the other one, and above it.
LONGEST_BESIDE, LONGEST_ABOVE = 740, 1240
GAP, TITLE, _BAR, _SCALE = 24, 64, 110, 40
# Dark to bright, as eight steps of the colour map "inferno".
_HEAT = (
    (0, 0, 4), (33, 12, 74), (87, 16, 110), (138, 34, 106), (188, 55, 84), (228, 90, 49), (249, 142, 9), (249, 203, 53),
    (252, 255, 164),
)  # fmt: skip


def draw_overview(
    path: Path, title: str, thumbnail: np.ndarray, heatmap: np.ndarray, grid: Grid, regions: Sequence[Region]
) -> None:
    """Draw the slide with its regions, and with its heat colours, a colour bar and a scale bar, as a PNG.

    `thumbnail` is the whole slide, (h, w, 3) uint8 RGB, at any scale.

    Pillow draws: to load a library of charts takes as long as to segment a small section. The same run gives the same
    bytes.
    """
    image = np.asarray(_drawn(title, thumbnail, heatmap, grid, regions))
    # One filter for all rows, and runs only: a third of the time of Pillow, which tries all filters, and as small.
    path.write_bytes(png_encode(image, level=1, strategy=PNG.STRATEGY.RLE, filter=PNG.FILTER.UP))


def _drawn(
    title: str, thumbnail: np.ndarray, heatmap: np.ndarray, grid: Grid, regions: Sequence[Region]
) -> Image.Image:
    width_mm, height_mm = (s * m / 1000 for s, m in zip(grid.slide_size, grid.slide_mpp, strict=True))
    above = width_mm > 1.2 * height_mm
    per_mm = (LONGEST_ABOVE if above else LONGEST_BESIDE) / max(width_mm, height_mm)
    size = max(1, round(width_mm * per_mm)), max(1, round(height_mm * per_mm))
    # Many a pixel of the mask to one of the picture: the mean. Else it is enlarged.
    slide = Image.fromarray(thumbnail).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    outlines = _outlines(regions, grid, per_mm, size)
    panels = [slide, slide.copy()]
    heat = _heat(heatmap, [round(n * grid.patch_um / 1000 * per_mm) for n in heatmap.shape[::-1]])
    panels[1].paste(heat, (0, 0), heat)
    for panel in panels:
        panel.paste(_OUTLINE, (0, 0), outlines)
    down = size[1] + _SCALE + GAP
    across = max(size[0], 200) + GAP
    sheet = (across + _BAR, TITLE + 2 * down) if above else (2 * across + _BAR, TITLE + max(down, 160))
    image = Image.new("RGB", (sheet[0] + GAP, sheet[1]), "white")
    draw = ImageDraw.Draw(image)
    draw.text((GAP, 12), title, INK, ImageFont.load_default(17))
    for number, (panel, name) in enumerate(zip(panels, ("Regions", "Probability of IDC"), strict=True)):
        left, top = (GAP, TITLE + number * down) if above else (GAP + number * across, TITLE)
        image.paste(panel, (left, top))
        draw.rectangle((left - 1, top - 1, left + size[0], top + size[1]), outline=INK)
        draw.text((left, top - 22), name, INK, ImageFont.load_default(14))
        draw_scale_bar(draw, left, top + size[1] + 10, width_mm, per_mm)
    _colour_bar(image, draw, sheet[0] - _BAR + GAP, TITLE, max(100, min(size[1], 420)))
    return image


def _heat(heatmap: np.ndarray, size: Sequence[int]) -> Image.Image:
    """Return the probabilities in colour, more opaque the higher; transparent where there are none."""
    known = np.nan_to_num(heatmap)
    alpha = np.where(np.isfinite(heatmap), 0.15 + 0.5 * known, 0)
    pixels = np.dstack([_colours(known), np.rint(255 * alpha)]).astype(np.uint8)
    return Image.fromarray(pixels).resize([max(1, s) for s in size], Image.Resampling.NEAREST)


def _colours(probabilities: np.ndarray) -> np.ndarray:
    """Return the colour of each probability, RGB, as a new last axis."""
    steps = np.linspace(0, 1, len(_HEAT))
    return np.rint(np.stack([np.interp(probabilities, steps, one) for one in zip(*_HEAT, strict=True)], -1))


def _outlines(regions: Sequence[Region], grid: Grid, per_mm: float, size: tuple[int, int]) -> Image.Image:
    """Draw the outlines of regions as a mask, at twice the size and then reduced: Pillow's lines have hard edges."""
    mask = Image.new("L", (2 * size[0], 2 * size[1]))
    draw = ImageDraw.Draw(mask)
    scale = 2 * per_mm * np.array(grid.slide_mpp) / 1000
    for region in regions:
        for ring in shapely.get_rings(shapely.get_parts(region.geometry)):
            draw.line((shapely.get_coordinates(ring) * scale).ravel().tolist(), 255, width=4, joint="curve")
    return mask.reduce(2)


def draw_scale_bar(draw: ImageDraw.ImageDraw, left: int, top: int, width_mm: float, per_mm: float) -> None:
    """Draw a bar of a round length, at most a fifth of the width; Pillow's own font has no letter mu."""
    rough = width_mm / 5
    power = 10.0 ** np.floor(np.log10(rough))
    length = power * max(m for m in (1, 2, 5) if m * power <= rough)
    draw.rectangle((left, top, left + round(length * per_mm), top + 7), INK)
    text = f"{length:g} mm" if length >= 1 else f"{length * 1000:g} um"
    draw.text((left + round(length * per_mm) + 8, top - 5), text, INK, ImageFont.load_default(14))


def _colour_bar(image: Image.Image, draw: ImageDraw.ImageDraw, left: int, top: int, height: int) -> None:
    """Draw the colours of the probabilities 0 to 1, from the bottom to the top."""
    colours = _colours(np.linspace(1, 0, height)).astype(np.uint8)[:, None].repeat(22, 1)
    image.paste(Image.fromarray(colours), (left, top))
    draw.rectangle((left - 1, top - 1, left + 22, top + height), outline=INK)
    for tenth in range(0, 11, 2):
        y = top + round((1 - tenth / 10) * (height - 1))
        draw.line((left + 22, y, left + 26, y), INK)
        draw.text((left + 30, y), f"{tenth / 10:g}", INK, ImageFont.load_default(13), anchor="lm")
