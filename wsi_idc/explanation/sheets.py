"""Pictures of patches in rows, each framed by what it was called, with words below; drawn by Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsi_idc.base.files import replacing
from wsi_idc.base.pages.colours import IDC, TISSUE, Colour
from wsi_idc.base.pages.sheet import INK, Panel, draw_scale_bar
from wsi_idc.base.shown import printable

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
PAPER = (255, 255, 255)
# In pixels: around and between pictures, a line of words, and the longest side of a picture on a sheet.
MARGIN, LINE, SIDE = 24, 18, 180
_FRAME, _PER_ROW = 5, 6
# Above the pictures: the title, and below it a line.
_TITLE = 62


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture (h, w, 3) uint8, whether it was called IDC, and the lines below it."""

    pixels: np.ndarray
    idc: bool
    lines: tuple[str, ...]


def write_sheet(path: Path, title: str, below: str, shown: Sequence[Shown], mpp: float | None = None) -> None:
    """Draw pictures in rows as PNG; the same ones give the same bytes.

    With `mpp`, the um of a pixel of all of them, which then are of one size, there is a scale bar. Raises OutputError
    where the file cannot be written.
    """
    lines = max((len(one.lines) for one in shown), default=0)
    across = min(_PER_ROW, max(1, len(shown)))
    step = SIDE + 2 * _FRAME + MARGIN, SIDE + 2 * _FRAME + lines * LINE + MARGIN
    rows = -(-len(shown) // across)
    fonts = ImageFont.load_default(18), ImageFont.load_default(13)
    widest = max(text_width(title, fonts[0]), text_width(below, fonts[1]), 460)
    size = max(MARGIN + across * step[0], widest + 2 * MARGIN), _TITLE + MARGIN + rows * step[1] + 30
    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, 14), printable(title), INK, fonts[0])
    draw.text((MARGIN, 40), printable(below), INK, fonts[1])
    for number, one in enumerate(shown):
        left, top = MARGIN + number % across * step[0], _TITLE + 12 + number // across * step[1]
        width, height = _paste(image, one, left, top)
        draw.rectangle(
            (left, top, left + width + 2 * _FRAME - 1, top + height + 2 * _FRAME - 1), None, _colour(one.idc), _FRAME
        )
        for line, text in enumerate(one.lines):
            words = fitting(printable(text), fonts[1], SIDE + 2 * _FRAME)
            draw.text((left, top + SIDE + 2 * _FRAME + 4 + line * LINE), words, INK, fonts[1])
    _legend(draw, size[1] - 34, fonts[1])
    if mpp and shown:
        tall, wide = shown[0].pixels.shape[:2]
        panel = Panel.of(wide * mpp / 1000, tall * mpp / 1000, SIDE)
        draw_scale_bar(draw, MARGIN + 320, size[1] - 30, panel)
    save(image, path)


def _paste(image: Image.Image, one: Shown, left: int, top: int) -> tuple[int, int]:
    """Paste a picture inside its frame; return its width and height on the sheet."""
    picture = Image.fromarray(one.pixels)
    size = fitted(picture.size, SIDE)
    # Magnified as pixels: what a model sees has no more.
    method = Image.Resampling.NEAREST if size[0] >= picture.width else Image.Resampling.BOX
    image.paste(picture.resize(size, method), (left + _FRAME, top + _FRAME))
    return size


def _legend(draw: ImageDraw.ImageDraw, top: int, font: Font) -> None:
    left = MARGIN
    for idc, text in ((True, "called IDC"), (False, "called not IDC")):
        draw.rectangle((left, top, left + 16, top + 14), None, _colour(idc), 4)
        draw.text((left + 24, top), text, INK, font)
        left += 130


def _colour(idc: bool) -> Colour:
    return IDC if idc else TISSUE


def fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return a size of the same shape whose longer side is `longest`, in pixels."""
    scale = longest / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def text_width(text: str, font: Font) -> int:
    """Return how wide a line of words is, in pixels."""
    return int(font.getlength(text)) + 1


def fitting(text: str, font: Font, width: int) -> str:
    """Return a text no wider than `width` pixels; its beginning goes, since names end in what tells them apart."""
    while text_width(text, font) > width and len(text) > 4:
        text = "..." + text[4:]
    return text


def save(image: Image.Image, path: Path) -> None:
    """Write a picture as PNG, whole or not at all; raises OutputError where it cannot be written."""
    with replacing(path) as temporary:
        image.save(temporary, "PNG")
