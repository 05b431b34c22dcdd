"""What formats in XML share: boxes, colours, numbers and texts as they are written in them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from wsi_idc.annotations.drawn import Color
from wsi_idc.annotations.shapes import number_of

# What is written so is a number of thousands, or one below a thousand with three decimals.
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*")


def corners(points: np.ndarray) -> np.ndarray:
    """Return the four corners (4, 2) of the upright rectangle around points."""
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def numbers_of(elements: Iterable[Element], names: Sequence[str], what: str) -> list[tuple[float, ...]]:
    """Return attributes of elements as numbers; raises ValueError where one is none, of `what` the elements are."""
    try:
        return [tuple(number_of(element.attrib[name]) for name in names) for element in elements]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{what} that is none ({type(error).__name__}: {error})") from error


def comma_note(elements: Iterable[Element]) -> str:
    """Say of corners, with X and Y, that commas in them may be those of thousands, where all of them may; else ""."""
    texts = [element.get(name, "") for element in elements for name in ("X", "Y")]
    found = [text.strip() for text in texts if "," in text]
    if not found or not all(_THOUSANDS.fullmatch(text) for text in found):
        return ""
    return f"{found[0]} and the like were read as numbers with three decimals, not as thousands"


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
