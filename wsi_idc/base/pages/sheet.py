"""The layout of pictures of a slide: panels on a white sheet with a title above and scale bars below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw, ImageFont

INK = (30, 30, 30)
# Pixels between and around panels, above the first one, and for what is right of or below them.
GAP, TITLE = 24, 64
_BAR, _SCALE = 110, 40
# Longest sides of a panel in pixels: beside the other one, and above it.
LONGEST_BESIDE, LONGEST_ABOVE = 740, 1240


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture of an area of `width_mm`: `size` (width, height) in pixels, `per_mm` of them to a mm."""

    width_mm: float
    size: tuple[int, int]
    per_mm: float

    @classmethod
    def of(cls, width_mm: float, height_mm: float, longest: int) -> Panel:
        """Return the panel whose longer side has `longest` pixels."""
        per_mm = longest / max(width_mm, height_mm)
        size = max(1, round(width_mm * per_mm)), max(1, round(height_mm * per_mm))
        return cls(width_mm, size, per_mm)


@dataclass(frozen=True, slots=True)
class TwoPanels:
    """A sheet with two panels alike: one above the other where the area is wide, else side by side."""

    panel: Panel
    above: bool

    @classmethod
    def of(cls, width_mm: float, height_mm: float) -> TwoPanels:
        """Lay out two panels of an area."""
        above = width_mm > 1.2 * height_mm
        return cls(Panel.of(width_mm, height_mm, LONGEST_ABOVE if above else LONGEST_BESIDE), above)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet in pixels."""
        across, down = self._steps
        return (
            (across + _BAR + GAP, TITLE + 2 * down) if self.above else (2 * across + _BAR + GAP, TITLE + max(down, 160))
        )

    @property
    def bar(self) -> tuple[int, int]:
        """Where a colour bar begins, right of the panels: (left, top)."""
        return self.size[0] - _BAR, TITLE

    def corner(self, number: int) -> tuple[int, int]:
        """Return where panel 0 or 1 begins: (left, top)."""
        across, down = self._steps
        return (GAP, TITLE + number * down) if self.above else (GAP + number * across, TITLE)

    def box(self, number: int) -> tuple[int, int, int, int]:
        """Return where panel 0 or 1 lies: (left, top, right, bottom), ends excluded."""
        left, top = self.corner(number)
        return left, top, left + self.panel.size[0], top + self.panel.size[1]

    @property
    def _steps(self) -> tuple[int, int]:
        return max(self.panel.size[0], 200) + GAP, self.panel.size[1] + _SCALE + GAP


def draw_scale_bar(draw: ImageDraw.ImageDraw, left: int, top: int, panel: Panel) -> None:
    """Draw a bar of a round length, at most a fifth of the width; Pillow's own font has no letter mu."""
    rough = panel.width_mm / 5
    power = 10.0 ** np.floor(np.log10(rough))
    length = power * max(m for m in (1, 2, 5) if m * power <= rough)
    draw.rectangle((left, top, left + round(length * panel.per_mm), top + 7), INK)
    text = f"{length:g} mm" if length >= 1 else f"{length * 1000:g} um"
    draw.text((left + round(length * panel.per_mm) + 8, top - 5), text, INK, ImageFont.load_default(14))
