"""What a reader of slide files gives: the levels of one image, and rectangles of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from wsi_idc.errors import SlideError

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


def read_within(
    level: Level, x: int, y: int, width: int, height: int, decode: Callable[[int, int, int, int], np.ndarray]
) -> np.ndarray:
    """Return a rectangle of a level, (height, width, 3) uint8, of which what lies outside the level is white.

    `decode` gives the part within it: of (x, y, width, height) in pixels of the level (height, width, 3).
    """
    out = np.full((height, width, 3), WHITE, np.uint8)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, level.width), min(y + height, level.height)
    if left < right and top < bottom:
        out[top - y : bottom - y, left - x : right - x] = decode(left, top, right - left, bottom - top)
    return out


def undecodable(path: Path, level: int, x: int, y: int, error: Exception) -> SlideError:
    """Return what is to be raised for a part of a level that a codec cannot decode; each has errors of its own."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return SlideError(f"{path}: level {level} at x={x}, y={y} cannot be decoded ({reason})")


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
