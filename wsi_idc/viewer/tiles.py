"""A slide in tiles, for a map at any magnification."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np
import shapely
from PIL import Image

from wsi_idc.base.pages.colours import heat_colours
from wsi_idc.errors import SlideError
from wsi_idc.slides.slide import Slide

# Side of a tile in pixels, and how many of a slide are kept: some 50 MB.
TILE = 512
_KEPT = 512


class OpenedSlide:
    """A slide in tiles. Places are in pixels of the map: level-0 pixels, as wide as high. Threads may share it."""

    def __init__(self, slide: Slide) -> None:
        """Show an open slide."""
        self.slide = slide
        # A slide whose pixels are wider than high, by a percent or so, is shown as it lies on the glass.
        self.stretch = slide.mpp.y / slide.mpp.x
        self.size = slide.size[0], round(slide.size[1] * self.stretch)
        self.levels = max(0, math.ceil(math.log2(max(self.size) / TILE)))
        self.tile = lru_cache(_KEPT)(self._tile)

    def __enter__(self) -> Self:
        """Return itself, for `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the slide."""
        self.slide.close()

    def facts(self) -> dict[str, Any]:
        """Return what the map has to know; `um` is that of a pixel of it, `heat` what heat covers, None for none."""
        facts: dict[str, Any] = {"size": self.size, "tile": TILE, "levels": self.levels, "um": self.slide.mpp.x}
        return facts | {"heat": self.heat_size()}

    def heat_size(self) -> list[float] | None:
        """Return how far heat reaches on the map; None where there is none."""
        return None

    def _tile(self, level: int, column: int, row: int) -> bytes:
        """Return a tile as JPEG, or b"" where it cannot be decoded; at `level` 0 the slide has half a tile to one.

        Raises IndexError where there is no such tile.
        """
        step = 2 ** (self.levels - level) if 0 <= level <= self.levels else 0
        x, y = column * TILE * step, row * TILE * step
        if not step or min(column, row) < 0 or x >= self.size[0] or y >= self.size[1]:
            raise IndexError(f"no tile {level}/{column}/{row}")
        try:
            # At the rim of the slide too a whole one: the rest is background.
            pixels = self.slide.read(x, y / self.stretch, TILE, TILE, self.slide.mpp.x * step)
        except SlideError:
            return b""
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=85)
        return stream.getvalue()

    def value_at(self, values: np.ndarray, step: tuple[float, float], x: float, y: float) -> float | None:
        """Return the value of the patch at a place of the map, of those in (rows, cols); None where there is none."""
        column, row = int(x // step[0]), int(y / self.stretch // step[1])
        rows, cols = values.shape
        if not (0 <= row < rows and 0 <= column < cols) or not np.isfinite(values[row, column]):
            return None
        return round(float(values[row, column]), 3)

    def on_slide(self, places: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        """Return places (x, y) of the map in level-0 pixels."""
        return [(float(x), float(y) / self.stretch) for x, y in places]

    def on_map(self, geometry: shapely.Geometry) -> list[list[list[float]]]:
        """Return the rings of an area in level-0 pixels as places of the map, each shell before its holes."""
        flat = shapely.transform(geometry, lambda xy: xy * np.array([1, self.stretch]))
        return [shapely.get_coordinates(ring).tolist() for ring in shapely.get_rings(shapely.get_parts(flat))]


def heat_image(
    heatmap: np.ndarray, level: float, veil: tuple[np.ndarray, tuple[int, int, int, int]] | None = None
) -> bytes:
    """Return probabilities (rows, cols) from `level` on in colour, a pixel each, as PNG; the others are not seen.

    A `veil` is where, (rows, cols) bool, and in which RGBA something else is to be seen.
    """
    known = np.nan_to_num(heatmap)
    alpha = np.where(known >= level, 255, 0).astype(np.uint8)
    image = np.dstack([heat_colours(known, level), alpha])
    if veil:
        image[veil[0]] = veil[1]
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
