"""The layout of pictures of a slide: panels on a white sheet with a title above and scale bars below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw, ImageFont

INK = (30, 30, 30)
# Pixels between and around panels, above the first one, and for what is below them.
GAP, TITLE = 24, 64
_SCALE = 40
# Longest sides of a panel in pixels: of three in a row, of two, and alone.
LONGEST_IN_ROW, LONGEST_OF_TWO, LONGEST_ALONE = 860, 900, 1240
# Width and height of a legend.
LEGEND = (560, 190)


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
class ThreePanels:
    """A sheet with three panels alike: in a row where the area is tall, else two above one, with room for a legend."""

    panel: Panel
    row: bool

    @classmethod
    def of(cls, width_mm: float, height_mm: float) -> ThreePanels:
        """Lay out three panels of an area."""
        row = width_mm < 0.8 * height_mm
        return cls(Panel.of(width_mm, height_mm, LONGEST_IN_ROW if row else LONGEST_OF_TWO), row)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet in pixels."""
        across, down = self._steps
        if self.row:
            return GAP + 3 * across, TITLE + down + LEGEND[1]
        return GAP + 2 * across, TITLE + down + max(down, LEGEND[1])

    @property
    def legend(self) -> tuple[int, int]:
        """Where the legend begins, `LEGEND` wide and high: (left, top)."""
        return (GAP, TITLE + self._steps[1]) if self.row else self.corner(3)

    def corner(self, number: int) -> tuple[int, int]:
        """Return where panel 0, 1 or 2 begins: (left, top)."""
        across, down = self._steps
        column, line = (number, 0) if self.row else (number % 2, number // 2)
        return GAP + column * across, TITLE + line * down

    def box(self, number: int) -> tuple[int, int, int, int]:
        """Return where panel 0, 1 or 2 lies: (left, top, right, bottom), ends excluded."""
        left, top = self.corner(number)
        return left, top, left + self.panel.size[0], top + self.panel.size[1]

    @property
    def _steps(self) -> tuple[int, int]:
        narrowest = 200 if self.row else LEGEND[0]
        return max(self.panel.size[0], narrowest) + GAP, self.panel.size[1] + _SCALE + GAP


def scale_bar_mm(width_mm: float) -> float:
    """Return a round length, at most a fifth of a width."""
    power = 10.0 ** np.floor(np.log10(width_mm / 5))
    return float(power * max(m for m in (1, 2, 5) if m * power <= width_mm / 5))


def scale_bar(width_mm: float) -> dict[str, float | str]:
    """Return the scale bar of a picture so wide: its length in percent of the width, and in words."""
    length = scale_bar_mm(width_mm)
    text = f"{length:g} mm" if length >= 1 else f"{length * 1000:g} µm"
    return {"percent": round(100 * length / width_mm, 2), "text": text}


def draw_scale_bar(draw: ImageDraw.ImageDraw, left: int, top: int, panel: Panel) -> None:
    """Draw a bar of a round length, at most a fifth of the width; Pillow's own font has no letter mu."""
    length = scale_bar_mm(panel.width_mm)
    draw.rectangle((left, top, left + round(length * panel.per_mm), top + 7), INK)
    text = f"{length:g} mm" if length >= 1 else f"{length * 1000:g} um"
    draw.text((left + round(length * panel.per_mm) + 8, top - 5), text, INK, ImageFont.load_default(14))
