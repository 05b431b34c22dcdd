"""The picture of an explained patch: the patch, its occlusion map, Grad-CAM, and the feature maps of each layer."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsi_idc.base.pages.colours import AGAINST_IDC, IDC
from wsi_idc.base.pages.sheet import INK, Panel, draw_scale_bar
from wsi_idc.base.shown import printable
from wsi_idc.explanation.gradients import LayerMaps
from wsi_idc.explanation.occlusion import WINDOW
from wsi_idc.explanation.patch import Explained
from wsi_idc.explanation.sheets import LINE, MARGIN, PAPER, fitting, save

# In pixels: side of a panel and of a feature map, height of a bar of colours, and of what stands around a panel.
SIDE, _MAP, _BAR, _HEAD, _FOOT = 250, 112, 12, 24, 74
# Feature maps of a layer.
_MAPS = 8
# How much of a full colour covers the grey of the patch.
_STRENGTH = 0.75


@dataclass(frozen=True, slots=True)
class _Values:
    """A panel of values (h, w) over the patch, what they are called, and whether below 0 means anything."""

    title: str
    values: np.ndarray
    unit: str
    signed: bool


def draw_explained(path: Path, explained: Explained, title: str, words: str, mpp: float) -> None:
    """Draw a patch and what explains its logit as PNG; the same numbers give the same bytes.

    `words` are written below the title, `mpp` is the um of a pixel of the patch. Raises OutputError.
    """
    panels = [
        _Values("occlusion", explained.occlusion, f"fall of the logit where {WINDOW} x {WINDOW} px are covered", True)
    ]
    panels += [
        _Values(f"Grad-CAM, {one.name}", one.cam, "weighted sum of maps, no unit", False) for one in explained.layers
    ]
    closer = explained.subject.closer
    first, across = (1, 4) if closer is None else (2, 5)
    width = MARGIN + across * (SIDE + MARGIN)
    lines = textwrap.wrap(printable(words), 44 * across)
    rows = -(-(len(panels) + first) // across)
    row, layer = _HEAD + SIDE + _FOOT, LINE + 8 + _MAP + 2 * LINE + MARGIN
    top = 52 + len(lines) * LINE
    image = Image.new("RGB", (width, top + rows * row + len(explained.layers) * layer + MARGIN), PAPER)
    draw, fonts = ImageDraw.Draw(image), (ImageFont.load_default(18), ImageFont.load_default(13))
    draw.text((MARGIN, 14), fitting(printable(title), fonts[0], width - 2 * MARGIN), INK, fonts[0])
    for number, line in enumerate(lines):
        draw.text((MARGIN, 42 + number * LINE), line, INK, fonts[1])
    pixels = explained.subject.pixels
    corners = [(MARGIN + n % across * (SIDE + MARGIN), top + n // across * row) for n in range(len(panels) + first)]
    um = len(pixels) * mpp
    _patch(image, pixels, f"as the model sees it, {mpp:g} um a pixel", corners[first - 1], um)
    if closer is not None:
        _patch(image, closer, "there on the slide, closer", corners[0], um)
    for panel, corner in zip(panels, corners[first:], strict=True):
        _panel(image, pixels, panel, corner)
    for number, one in enumerate(explained.layers):
        _maps(image, one, top + rows * row + number * layer)
    save(image, path)


def _patch(image: Image.Image, pixels: np.ndarray, title: str, corner: tuple[int, int], um: float) -> None:
    """Draw pixels of a side of `um` as a panel with a scale bar."""
    draw, (left, top) = ImageDraw.Draw(image), corner
    draw.text((left, top + 2), title, INK, ImageFont.load_default(13))
    image.paste(_large(pixels), (left, top + _HEAD))
    draw_scale_bar(draw, left, top + _HEAD + SIDE + 10, Panel.of(um / 1000, um / 1000, SIDE))


def _panel(image: Image.Image, pixels: np.ndarray, panel: _Values, corner: tuple[int, int]) -> None:
    """Draw values over the grey of a patch, with the bar of their colours below."""
    draw, (left, top), font = ImageDraw.Draw(image), corner, ImageFont.load_default(13)
    most = float(np.abs(panel.values).max())
    draw.text((left, top + 2), fitting(panel.title, font, SIDE), INK, font)
    image.paste(_large(over(pixels, panel.values, most)), (left, top + _HEAD))
    bar = top + _HEAD + SIDE + 8
    shares = np.linspace(-1 if panel.signed else 0, 1, SIDE)[None].repeat(_BAR, 0)
    image.paste(Image.fromarray(_coloured(np.full((_BAR, SIDE, 3), 200.0), shares)), (left, bar))
    ends = (f"-{most:.3g}", f"+{most:.3g}") if panel.signed else ("0", f"{most:.3g}")
    sides = ("against IDC", "for IDC") if panel.signed else ("", "for IDC")
    texts = [f"{end} {side}".strip() for end, side in zip(ends, sides, strict=True)]
    draw.text((left, bar + _BAR + 3), texts[0], INK, font)
    draw.text((left + SIDE - int(font.getlength(texts[1])), bar + _BAR + 3), texts[1], INK, font)
    if panel.signed:
        draw.text((left + SIDE // 2 - 4, bar + _BAR + 3), "0", INK, font)
    unit = panel.unit if most > 0 else "0 everywhere"
    draw.text((left, bar + _BAR + 3 + LINE), fitting(unit, font, SIDE), INK, font)


def _maps(image: Image.Image, one: LayerMaps, top: int) -> None:
    """Draw the feature maps of a layer that move the logit most, and by how much."""
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    height, width, count = one.maps.shape
    strongest = np.argsort(-np.abs(one.shares), kind="stable")[:_MAPS]
    head = (
        f"{one.name}: {count} feature maps of {width} x {height}; the {len(strongest)} that move the logit most "
        "(gradient times map, summed); black is the least of a map, white its most"
    )
    draw.text((MARGIN, top), fitting(head, font, image.width - 2 * MARGIN), INK, font)
    for number, channel in enumerate(strongest):
        left, under = MARGIN + number * (_MAP + 20), top + LINE + 8
        own = one.maps[..., channel]
        image.paste(Image.fromarray(grey(own)).resize((_MAP, _MAP), Image.Resampling.NEAREST), (left, under))
        share = float(one.shares[channel])
        draw.text((left, under + _MAP + 2), f"map {channel}: {share:+.2g}", IDC if share > 0 else AGAINST_IDC, font)
        draw.text((left, under + _MAP + 2 + LINE), f"{own.min():.2g} to {own.max():.2g}", INK, font)


def over(pixels: np.ndarray, values: np.ndarray, most: float) -> np.ndarray:
    """Lay values (h, w) over the grey of a patch (s, s, 3) uint8: red above 0, blue below, full at `most`."""
    size = pixels.shape[1], pixels.shape[0]
    large = np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    shares = np.clip(large / most, -1, 1) if most > 0 else np.zeros_like(large)
    return _coloured(pixels.mean(2, keepdims=True).repeat(3, 2), shares)


def grey(values: np.ndarray) -> np.ndarray:
    """Return a map (h, w) as grey (h, w) uint8, from its lowest value to its highest; black where it has one only."""
    low, high = float(values.min()), float(values.max())
    flat = np.zeros(values.shape) if high <= low else (values - low) / (high - low)
    return np.rint(255 * flat).astype(np.uint8)


def _coloured(below: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Mix the colours of shares (h, w) in -1 to 1 into what is below them (h, w, 3); uint8."""
    colour = np.where(shares[..., None] > 0, np.array(IDC), np.array(AGAINST_IDC))
    strength = _STRENGTH * np.abs(shares)[..., None]
    return np.rint(below * (1 - strength) + colour * strength).astype(np.uint8)


def _large(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)
