"""What a reader of slide files gives: the levels of one image, and rectangles of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a pyramid: size in pixels, and how many level-0 pixels one of its pixels spans.

    A virtual level is not in the file: the reader makes it while it decodes another one. Its pixels may be `means` of
    that one.
    """

    width: int
    height: int
    downsample: float
    virtual: bool = False
    means: bool = False


def part_within(
    level: Level, x: int, y: int, width: int, height: int
) -> tuple[tuple[int, int, int, int], tuple[slice, slice]] | None:
    """Return what of a rectangle lies within a level, (left, top, right, bottom), and its place in the rectangle.

    In pixels of the level; None where the rectangle lies outside.
    """
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, level.width), min(y + height, level.height)
    if left >= right or top >= bottom:
        return None
    return (left, top, right, bottom), (slice(top - y, bottom - y), slice(left - x, right - x))


class Reader(Protocol):
    """What `slide.Slide` needs of a file format."""

    name: str
    levels: list[Level]
    properties: dict[str, str]
    background: tuple[int, int, int]

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read (height, width, 3) uint8 RGB at a level, from pixel (x, y) of that level.

        Transparent and missing pixels are background. What is read at a pixel does not depend on where the rectangle
        begins. Raises SlideError where the file cannot be decoded; the reader stays usable.
        """
        ...

    @property
    def icc(self) -> bytes | None:
        """The colour profile (ICC) of the image as it lies in the file, None where there is none."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...
