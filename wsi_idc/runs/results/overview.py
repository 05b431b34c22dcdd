"""What a person looks at first: overview.png, the slide plain, with its regions, and with its probabilities."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from imagecodecs import PNG, png_encode
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt

from wsi_idc.base.grid import Grid
from wsi_idc.base.inputs.picture import read_picture
from wsi_idc.base.pages.colours import IDC, NOT_COMPUTED, heat_colours, heat_lines
from wsi_idc.base.pages.sheet import GAP, INK, LEGEND, Panel, ThreePanels, draw_scale_bar
from wsi_idc.base.pages.strokes import hatched, highest, number, outlines, stroke
from wsi_idc.errors import DataError
from wsi_idc.regions.regions import Region
from wsi_idc.runs.results.folder import read_summary

# Probabilities are drawn from at most so many a side: of more, a picture shows nothing.
_MOST = 450
# Regions that are numbered in a picture, and those that are listed beside it.
_NUMBERED, _LISTED = 60, 12
_THUMBNAIL = 192
# Rows of a picture that are drawn at once, where each pixel takes much memory.
_BAND = 128
# Pixels of an overview, which has three panels of at most 1400 a side.
_LARGEST = 1 << 24


@dataclass(frozen=True, slots=True)
class Pictured:
    """A run as pictures show it.

    `pixels` are the whole slide, (h, w, 3) uint8 RGB, at any scale. `heatmap` is (rows, cols), NaN for none, `failed`
    bool likewise where patches could not be computed; `tissue` is (h, w) bool over the slide. Outlines run along the
    probability `level`, and a region reaches `threshold` somewhere. `bands` are the probabilities between which bands
    were asked for.
    """

    title: str
    pixels: np.ndarray
    heatmap: np.ndarray
    failed: np.ndarray
    tissue: np.ndarray
    grid: Grid
    regions: Sequence[Region]
    slivers: Sequence[Region]
    level: float
    threshold: float
    bands: tuple[float, ...] = ()

    @property
    def lines(self) -> tuple[float, ...]:
        """The probabilities along which lines are drawn beside outlines: between bands, where these were asked for."""
        return self.bands or heat_lines(self.level)[1:]

    @property
    def lowest(self) -> float:
        """The probability at which the scale of colours begins."""
        return min((self.level, *self.bands))

    @property
    def extent_mm(self) -> tuple[float, float]:
        """Width and height of the slide in mm."""
        (width, height), (x, y) = self.grid.slide_size, self.grid.slide_mpp
        return width * x / 1000, height * y / 1000

    def slide(self, size: tuple[int, int]) -> Image.Image:
        """Return the slide as a picture of this size."""
        image = Image.fromarray(self.pixels)
        if image.size == size:
            return image
        # Many a pixel to one of the picture: the mean. Else it is enlarged.
        return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)

    def scale(self, size: tuple[int, int]) -> np.ndarray:
        """Return what brings level-0 pixels to those of a picture of this size, (x, y)."""
        return np.array(size) / np.array(self.grid.slide_size)


def draw_overview(path: Path, run: Pictured) -> None:
    """Draw a run as a PNG: H&E alone, with numbered regions, and with lines of equal probability; with a legend.

    Pillow draws: to load a library of charts takes as long as to segment a small section. The same run gives the same
    bytes.
    """
    image = np.asarray(_drawn(run))
    # One filter for all rows, and runs only: a third of the time of Pillow, which tries all filters, and as small.
    path.write_bytes(png_encode(image, level=1, strategy=PNG.STRATEGY.RLE, filter=PNG.FILTER.UP))


def draw_thumbnail(path: Path, run: Pictured) -> None:
    """Draw the slide with its regions as a JPEG of `_THUMBNAIL` pixels a side at most, for lists of many slides."""
    width, height = run.extent_mm
    size = Panel.of(width, height, _THUMBNAIL).size
    image = run.slide(size)
    stroke(image, outlines([r.geometry for r in run.regions], run.scale(size), size, width=1), IDC)
    # Written by Pillow itself, a full disk would be "broken data".
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    path.write_bytes(stream.getvalue())


def read_plain(run: Path) -> Image.Image | None:
    """Return the slide alone, as overview.png in the folder of a run shows it.

    None where there is no picture, or one of another version of this tool. Raises DataError where it cannot be read.
    """
    file, facts = run / "overview.png", read_summary(run)["slide"]
    layout = ThreePanels.of(facts["width"] * facts["mpp"]["x"] / 1000, facts["height"] * facts["mpp"]["y"] / 1000)
    if not file.is_file():
        return None
    try:
        sheet = read_picture(file, _LARGEST)
        return sheet.convert("RGB").crop(layout.box(0)) if sheet.size == layout.size else None
    except (OSError, ValueError) as error:
        raise DataError(f"{run}: its overview.png cannot be read; segment the slide again") from error


def _drawn(run: Pictured) -> Image.Image:
    layout = ThreePanels.of(*run.extent_mm)
    size = layout.panel.size
    plain = run.slide(size)
    scale = run.scale(size)
    regions, heat = plain.copy(), plain.copy()
    lines = outlines([r.geometry for r in run.regions], scale, size)
    if run.slivers:
        stroke(regions, outlines([r.geometry for r in run.slivers], scale, size, width=1), IDC)
    stroke(heat, *heat_layer(run, size), rim=(0, 0, 0))
    failed = hatched(over(run.failed, run.grid, size))
    for panel in (regions, heat):
        stroke(panel, failed, NOT_COMPUTED)
        stroke(panel, lines, IDC)
    number(regions, [r.geometry for r in run.regions[:_NUMBERED]], scale, IDC)
    image = Image.new("RGB", layout.size, "white")
    draw = ImageDraw.Draw(image)
    draw.text((GAP, 12), run.title, INK, ImageFont.load_default(17))
    named = (("H&E", plain), ("Regions of IDC, by size", regions), ("Probability of IDC", heat))
    for place, (name, panel) in enumerate(named):
        left, top, right, bottom = layout.box(place)
        image.paste(panel, (left, top))
        draw.rectangle((left - 1, top - 1, right, bottom), outline=INK)
        draw.text((left, top - 22), name, INK, ImageFont.load_default(14))
        draw_scale_bar(draw, left, bottom + 10, layout.panel)
    _legend(image, draw, layout, run)
    return image


def heat_layer(run: Pictured, size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """Return lines of equal probability as a mask of this size, and their colours.

    The line along `level` is the outline of regions and left to them, unless it is that of a band.
    """
    levels = run.lines
    mask, colours = Image.new("L", size), Image.new("RGB", size)
    if not levels or not (run.heatmap >= levels[0]).any():
        return mask, colours
    passed = _passed(run, levels, (2 * size[0], 2 * size[1]))
    rows, cols = np.flatnonzero(passed.any(1)), np.flatnonzero(passed.any(0))
    if not len(rows):
        return mask, colours
    # Where there is something to draw, with a pixel or more of the mask around it.
    top, left = (max(0, (found[0] - 2) // 2 * 2) for found in (rows, cols))
    bottom, right = (min(n, (f[-1] + 4) // 2 * 2) for f, n in zip((rows, cols), passed.shape, strict=True))
    passed = passed[top:bottom, left:right]
    lines = np.zeros(passed.shape, bool)
    down, across = passed[1:] != passed[:-1], passed[:, 1:] != passed[:, :-1]
    # A pixel to either side of where they change, and then two: reduced, a line is as wide as others.
    for there, changed in ((lines[1:], down), (lines[:-1], down), (lines[:, 1:], across), (lines[:, :-1], across)):
        there |= changed
    corner = left // 2, top // 2
    mask.paste(highest(Image.fromarray(lines.astype(np.uint8) * 255)).reduce(2), corner)
    # Of the colour of the side that is higher: the highest of the pixels around.
    four = (passed[row::2, column::2] for row in (0, 1) for column in (0, 1))
    inner = np.asarray(highest(Image.fromarray(functools.reduce(np.maximum, four))))
    colours.paste(Image.fromarray(heat_colours(np.array([run.lowest, *levels]), run.lowest)[inner]), corner)
    return mask, colours


def over(patches: np.ndarray, grid: Grid, size: tuple[int, int]) -> Image.Image:
    """Return patches, (rows, cols) bool, as a mask of a picture of the slide of this size."""
    mask = Image.fromarray(patches.astype(np.uint8) * 255)
    return mask.resize(size, Image.Resampling.NEAREST, box=_box(grid, mask.size))


def _box(grid: Grid, cells: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the part of a raster of `cells` over the grid that is slide: the last patches may reach beyond it."""
    right, bottom = (min(s / d, n) for s, d, n in zip(grid.slide_size, grid.step, cells, strict=True))
    return 0.0, 0.0, right, bottom


def _passed(run: Pictured, levels: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """Return how many of `levels` the probability between patches reaches, (h, w) uint8; 0 outside tissue."""
    values, (left, upper, right, lower) = _drawable(run)
    field, passed = Image.fromarray(values), np.zeros(size[::-1], np.uint8)
    # By bands: as probabilities a picture of this size would take more memory than anything else in a run.
    for top in range(0, size[1], _BAND):
        band = passed[top : top + _BAND]
        begin, end = (upper + (lower - upper) * (row / size[1]) for row in (top, top + len(band)))
        shown = np.asarray(field.resize(band.shape[::-1], Image.Resampling.BILINEAR, box=(left, begin, right, end)))
        for level in levels:
            band += shown >= level
    passed *= np.asarray(Image.fromarray(run.tissue.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
    return passed


def _drawable(run: Pictured) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Return the heatmap with a number everywhere and `_MOST` values a side at most, and the part of it that is slide.

    Where nothing was computed it has the nearest probability.
    """
    values = run.heatmap
    factor = -(-max(values.shape) // _MOST)
    if factor > 1:
        rows, cols = (-(-n // factor) * factor for n in values.shape)
        padded = np.full((rows, cols), np.nan, np.float32)
        padded[: values.shape[0], : values.shape[1]] = values
        blocks = padded.reshape(rows // factor, factor, cols // factor, factor)
        known = np.isfinite(blocks).sum((1, 3))
        values = np.where(known, np.nansum(blocks, (1, 3)) / np.maximum(known, 1), np.nan)
    if not np.isfinite(values).all():
        nearest = distance_transform_edt(~np.isfinite(values), return_distances=False, return_indices=True)
        values = values[tuple(nearest)]
    left, upper, right, lower = (v / factor for v in _box(run.grid, run.heatmap.shape[::-1]))
    return values.astype(np.float32), (left, upper, right, lower)


def _legend(image: Image.Image, draw: ImageDraw.ImageDraw, layout: ThreePanels, run: Pictured) -> None:
    """Draw what colours and lines mean: a colour bar from the lowest probability of IDC on, and the kinds of lines."""
    left, top = layout.legend
    font, small = ImageFont.load_default(14), ImageFont.load_default(13)
    along = "between bands" if run.bands else "along lines of equal probability"
    draw.text((left, top - 22), f"Probability of IDC, {along}", INK, font)
    width = LEGEND[0] - 60
    bar = heat_colours(np.linspace(run.lowest, 1, width), run.lowest)[None].repeat(18, 0)
    image.paste(Image.fromarray(bar), (left, top + 2))
    draw.rectangle((left - 1, top + 1, left + width, top + 20), outline=INK)
    at = lambda p: left + round((p - run.lowest) / (1 - run.lowest) * (width - 1))  # noqa: E731
    for p in (*run.lines, 1.0):
        draw.line((at(p), top + 20, at(p), top + 26), INK, width=2)
        draw.text((at(p), top + 28), f"{p:g}", INK, small, anchor="ma")
    # What bounds regions is marked in their colour.
    marks = {run.threshold: f"threshold {run.threshold:.2f}"} | (
        {run.level: f"outlined from {run.level:.2f} on"} if run.level < run.threshold else {}
    )
    for line, (p, name) in enumerate(marks.items()):
        draw.line((at(p), top - 2, at(p), top + 30), IDC, width=3)
        draw.text((at(p), top + 43 + 15 * line), name, IDC, small)
    y = top + 66 + 15 * (len(marks) - 1)
    rows = [(3, "IDC: a focus, numbered from the largest down")]
    if run.slivers:
        rows.append((2, "smaller than the smallest focus: not counted"))
    for thick, text in rows:
        draw.line((left, y + 8, left + 30, y + 8), IDC, width=thick)
        draw.text((left + 40, y), text, INK, font)
        y += 22
    if run.failed.any():
        image.paste(NOT_COMPUTED, (left, y), hatched(Image.new("L", (30, 16), 255)))
        draw.rectangle((left, y, left + 30, y + 16), outline=INK)
        draw.text((left + 40, y), "could not be read: not computed", INK, font)
        y += 22
    draw.text((left, y + 4), "For research use only; not for diagnosis.", INK, small)
    # Beside it, or below it: the largest regions.
    corner = (left + LEGEND[0] + GAP, top - 22) if layout.row else (left, y + 36)
    _list(draw, corner, min(_LISTED, (layout.size[1] - corner[1]) // 20 - 2), run)


def _list(draw: ImageDraw.ImageDraw, corner: tuple[int, int], most: int, run: Pictured) -> None:
    """Write the measures of at most so many regions, a line each, from `corner` (left, top) down."""
    (x, y), font = corner, ImageFont.load_default(14)
    for count, region in enumerate(run.regions[: max(0, most)], 1):
        cells = (f"{count}", f"{region.area_mm2:.2f} mm2", f"largest diameter {region.largest_diameter_mm:.2f} mm")
        for cell, right in zip(cells, (20, 130, 350), strict=True):
            draw.text((x + right, y), cell, INK, font, anchor="ra")
        y += 20
    if len(run.regions) > most:
        draw.text((x, y), f"and {len(run.regions) - max(0, most)} more: see report.html", INK, font)
