"""What formats in XML share: boxes, colours, numbers and texts as they are written in them."""

from __future__ import annotations

import math
import re

import numpy as np

from wsi_idc.annotations.drawn import Color


def corners(points: np.ndarray) -> np.ndarray:
    """Return the four corners (4, 2) of the upright rectangle around points."""
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def rgb(text: str) -> Color:
    """Return a colour from "#rrggbb"."""
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def hexadecimal(color: Color) -> str:
    """Return a colour as "#rrggbb"."""
    return f"#{bytes(color).hex()}"


def number(value: float) -> str:
    """Write a coordinate such that it is read back exactly, whole ones without a point."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def printable(text: str) -> str:
    """Return a text with what XML 1.0 cannot hold, such as control characters, replaced by U+FFFD."""
    return re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
