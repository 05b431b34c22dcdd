"""Units of length as image files spell them, in micrometres."""

from __future__ import annotations

import math
import re
import unicodedata

_METRE_IN_UM = 1e6
_PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1, "": 0,
    "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
_INCH = 25_400.0
# Units whose case does not matter, and words; those of OME's list and what ImageJ, QuPath and Bio-Formats write.
_NAMED = {
    "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0, "micrometers": 1.0, "micrometres": 1.0,
    "nanometer": 1e-3, "nanometre": 1e-3, "nanometers": 1e-3, "nanometres": 1e-3,
    "millimeter": 1e3, "millimetre": 1e3, "millimeters": 1e3, "millimetres": 1e3,
    "centimeter": 1e4, "centimetre": 1e4, "centimeters": 1e4, "centimetres": 1e4,
    "meter": 1e6, "metre": 1e6, "meters": 1e6, "metres": 1e6,
    "inch": _INCH, "inches": _INCH, "in": _INCH, "in.": _INCH, '"': _INCH, "thou": _INCH / 1000, "mil": _INCH / 1000,
    "li": _INCH / 12, "line": _INCH / 12, "ft": 12 * _INCH, "foot": 12 * _INCH, "feet": 12 * _INCH,
    "yd": 36 * _INCH, "yard": 36 * _INCH, "mi": 63_360 * _INCH, "mile": 63_360 * _INCH,
    "pt": _INCH / 72, "pt.": _INCH / 72, "point": _INCH / 72, "points": _INCH / 72,
    "angstrom": 1e-4, "angstroms": 1e-4, "a": 1e-4,
}  # fmt: skip
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")


def micrometres(unit: str) -> float | None:
    """Return how many um a unit of length is, or None where the text is no unit of length, such as "pixel".

    Takes the symbols of OME, with the micro sign, the Greek letter or `u` for micro, their names, and `\\u00B5m` as
    ImageJ writes it.
    """
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), unit)
    # NFKC makes the micro sign the Greek letter, and the angstrom sign the letter A with a ring.
    text = unicodedata.normalize("NFKC", text).strip().replace("\u03bc", "u")
    if text in ("\u00c5", "A\u030a"):
        return 1e-4
    if text.endswith("m") and text[:-1] in _PREFIXES:
        return _METRE_IN_UM * 10.0 ** _PREFIXES[text[:-1]]
    # Only after the symbols, whose case matters: mm and Mm.
    lower = text.lower().replace("\u00e5", "a")
    if lower in _NAMED:
        return _NAMED[lower]
    return {"um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}.get(lower)


def length_um(value: str | None, unit: str) -> float | None:
    """Return a length in um, or None where number or unit make no sense; only lengths above 0 are lengths."""
    factor = micrometres(unit)
    try:
        length = float((value or "").strip().replace(",", "."))
    except ValueError:
        return None
    return length * factor if factor and math.isfinite(length) and length > 0 else None
