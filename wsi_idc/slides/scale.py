"""The scale of a slide as a checked claim: what the user gives, or the best of what its file states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsi_idc.errors import ScaleError

PLAUSIBLE_MPP = (0.05, 20.0)
MAX_ANISOTROPY = 0.02


@dataclass(frozen=True, slots=True)
class Mpp:
    """The scale of a slide in um per level-0 pixel, and where it comes from.

    `estimated` marks a value derived from the objective power, which vendors round (40x is 0.22 to 0.27 um/px).
    """

    x: float
    y: float
    source: str
    estimated: bool = False


def claim_mpp(path: Path, properties: Mapping[str, str], given: float | None = None) -> Mpp:
    """Settle the scale of a slide: given by the user, else by the vendor, TIFF tags or objective power, in that order.

    Raises ScaleError where there is none, or where it is implausible (outside 0.05 to 20 um/px) or differs by more
    than 2 % between the axes: wrong by a factor, a scale makes every later number wrong.
    """
    claim = Mpp(given, given, "--mpp") if given is not None else find_claim(properties)
    way_out = "give the true scale with --mpp (40x is usually 0.25, 20x 0.5 um/px)"
    if claim is None:
        raise ScaleError(f"{path}: the file does not state its scale in um per pixel; {way_out}")
    low, high = PLAUSIBLE_MPP
    if not (low <= claim.x <= high and low <= claim.y <= high):
        raise ScaleError(
            f"{path}: a scale of {claim.x:.6g} x {claim.y:.6g} um/px ({claim.source}) is outside "
            f"{low} to {high} and cannot be true; {way_out}"
        )
    if max(claim.x, claim.y) > (1 + MAX_ANISOTROPY) * min(claim.x, claim.y) * (1 + 1e-9):
        raise ScaleError(
            f"{path}: its pixels are not square: {claim.x:.6g} x {claim.y:.6g} um/px ({claim.source}); {way_out}"
        )
    return claim


def find_claim(properties: Mapping[str, str]) -> Mpp | None:
    """Return the scale that the properties of a file state, unchecked, from the best source; None without any."""
    vendor = properties.get("openslide.vendor", "")
    tags = _resolution_tags(properties)
    stated = _pair(properties, "openslide.mpp-x", "openslide.mpp-y")
    if stated:
        # For a generic TIFF OpenSlide itself derives the mpp from the resolution tags.
        return Mpp(*stated, "TIFF resolution tags" if vendor == "generic-tiff" else f"openslide.mpp ({vendor})")
    if ome := _pair(properties, "ome.mpp-x", "ome.mpp-y"):
        return Mpp(*ome, "OME PhysicalSize")
    if tags:
        return Mpp(*tags, "TIFF resolution tags")
    power = number(properties.get("openslide.objective-power"))
    return Mpp(10 / power, 10 / power, f"objective power {power:g} (estimate)", estimated=True) if power else None


def number(text: str | None) -> float | None:
    """Read a positive number; None where the text is none."""
    try:
        value = float(text) if text else 0.0
    except ValueError:
        return None
    return value if value > 0 else None


def _pair(properties: Mapping[str, str], x: str, y: str) -> tuple[float, float] | None:
    first, second = number(properties.get(x)), number(properties.get(y))
    return (first, second) if first and second else None


def _resolution_tags(properties: Mapping[str, str]) -> tuple[float, float] | None:
    unit_um = {"inch": 25400.0, "centimeter": 10000.0}.get(properties.get("tiff.ResolutionUnit", ""))
    per_unit = _pair(properties, "tiff.XResolution", "tiff.YResolution")
    return (unit_um / per_unit[0], unit_um / per_unit[1]) if unit_um and per_unit else None
