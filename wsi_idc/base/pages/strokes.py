"""Lines, areas and numbers drawn over a picture so that they are seen on any tissue."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import shapely
from PIL import Image, ImageDraw, ImageFont

from wsi_idc.base.pages.colours import Colour

# How much of what lies below is seen through the pale rim of a line.
_RIM = 170


def outlines(
    geometries: Iterable[shapely.Geometry], scale: np.ndarray, size: tuple[int, int], width: int = 2
) -> Image.Image:
    """Draw the rings of areas as a mask (PIL, "L") of `size`; `scale` (x, y) brings their coordinates to its pixels.

    At twice the size and then reduced: Pillow's lines have hard edges.
    """
    mask = Image.new("L", (2 * size[0], 2 * size[1]))
    draw = ImageDraw.Draw(mask)
    for geometry in geometries:
        for ring in shapely.get_rings(shapely.get_parts(geometry)):
            draw.line((shapely.get_coordinates(ring) * 2 * scale).ravel().tolist(), 255, width=2 * width, joint="curve")
    return mask.reduce(2)


def filled(parts: Iterable[shapely.Polygon], scale: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Draw polygons with their holes as a mask of `size`, as `outlines` does."""
    mask = Image.new("L", (2 * size[0], 2 * size[1]))
    draw = ImageDraw.Draw(mask)
    # From the largest down, since a part may lie in the hole of another.
    for part in sorted(parts, key=lambda p: -shapely.Polygon(p.exterior).area):
        for ring, value in [(part.exterior, 255), *((hole, 0) for hole in part.interiors)]:
            draw.polygon((shapely.get_coordinates(ring) * 2 * scale).ravel().tolist(), value)
    return mask.reduce(2)


def stroke(panel: Image.Image, lines: Image.Image, colour: Colour | Image.Image, rim: Colour = (255, 255, 255)) -> None:
    """Lay lines, a mask, over a panel in a colour, or in those of an image, with a rim that parts them from tissue."""
    where = lines.getbbox()
    if where is None:
        return
    left, top, right, bottom = where
    box = max(0, left - 2), max(0, top - 2), min(panel.width, right + 2), min(panel.height, bottom + 2)
    lines = lines.crop(box)
    panel.paste(rim, box, highest(lines).point(lambda v: v * _RIM // 255))
    panel.paste(colour.crop(box) if isinstance(colour, Image.Image) else colour, box, lines)


def highest(image: Image.Image) -> Image.Image:
    """Return the highest value of the nine pixels around each, those of the image itself at its border ("L").

    What `ImageFilter.MaxFilter(3)` gives, in a small part of its time.
    """
    pixels = np.array(image)
    for later, earlier in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        before = pixels.copy()
        np.maximum(pixels[later], before[earlier], out=pixels[later])
        np.maximum(pixels[earlier], before[later], out=pixels[earlier])
    return Image.fromarray(pixels)


def hatched(mask: Image.Image, every: int = 8) -> Image.Image:
    """Return what of diagonal lines, `every` so many pixels, lies within a mask."""
    rows, columns = np.ogrid[: mask.height, : mask.width]
    lines = ((rows + columns) % every < 2).astype(np.uint8)
    return Image.fromarray(np.asarray(mask) * lines)


def number(
    panel: Image.Image, geometries: Iterable[shapely.Geometry], scale: np.ndarray, colour: Colour, size: int = 22
) -> int:
    """Write the numbers of areas, from 1, inside them; returns how many found no room beside the ones before."""
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(size)
    taken = np.zeros((0, 4))
    left_out = 0
    for count, geometry in enumerate(geometries, 1):
        place = shapely.get_coordinates(shapely.point_on_surface(geometry))[0] * scale
        # Not cut off by the rim of the panel.
        half = np.array([0.35 * size * len(str(count)), 0.6 * size]) + 2
        x, y = np.clip(place, half, np.maximum(half, np.array(panel.size) - half))
        box = np.array([x - half[0], y - half[1], x + half[0], y + half[1]])
        if (np.minimum(box[2:], taken[:, 2:]) > np.maximum(box[:2], taken[:, :2])).all(1).any():
            left_out += 1
            continue
        taken = np.vstack([taken, box])
        draw.text((x, y), str(count), colour, font, anchor="mm", stroke_width=3, stroke_fill="white")
    return left_out
