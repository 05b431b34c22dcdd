"""What a person looks at first: overview.png, the slide with its regions and with its heat colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from imagecodecs import PNG, png_encode
from PIL import Image, ImageDraw, ImageFont

from wsi_idc.base.grid import Grid
from wsi_idc.base.pages.sheet import GAP, INK, TwoPanels, draw_scale_bar
from wsi_idc.regions.regions import Region

_OUTLINE = (0, 160, 0)
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
    layout = TwoPanels.of(width_mm, height_mm)
    size, per_mm = layout.panel.size, layout.panel.per_mm
    # Many a pixel of the mask to one of the picture: the mean. Else it is enlarged.
    slide = Image.fromarray(thumbnail).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    outlines = _outlines(regions, grid, per_mm, size)
    panels = [slide, slide.copy()]
    heat = _heat(heatmap, [round(n * grid.patch_um / 1000 * per_mm) for n in heatmap.shape[::-1]])
    panels[1].paste(heat, (0, 0), heat)
    for panel in panels:
        panel.paste(_OUTLINE, (0, 0), outlines)
    image = Image.new("RGB", layout.size, "white")
    draw = ImageDraw.Draw(image)
    draw.text((GAP, 12), title, INK, ImageFont.load_default(17))
    for number, (panel, name) in enumerate(zip(panels, ("Regions", "Probability of IDC"), strict=True)):
        left, top, right, bottom = layout.box(number)
        image.paste(panel, (left, top))
        draw.rectangle((left - 1, top - 1, right, bottom), outline=INK)
        draw.text((left, top - 22), name, INK, ImageFont.load_default(14))
        draw_scale_bar(draw, left, bottom + 10, layout.panel)
    _colour_bar(image, draw, *layout.bar, max(100, min(size[1], 420)))
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


def _colour_bar(image: Image.Image, draw: ImageDraw.ImageDraw, left: int, top: int, height: int) -> None:
    """Draw the colours of the probabilities 0 to 1, from the bottom to the top."""
    colours = _colours(np.linspace(1, 0, height)).astype(np.uint8)[:, None].repeat(22, 1)
    image.paste(Image.fromarray(colours), (left, top))
    draw.rectangle((left - 1, top - 1, left + 22, top + height), outline=INK)
    for tenth in range(0, 11, 2):
        y = top + round((1 - tenth / 10) * (height - 1))
        draw.line((left + 22, y, left + 26, y), INK)
        draw.text((left + 30, y), f"{tenth / 10:g}", INK, ImageFont.load_default(13), anchor="lm")
