"""The scale of a slide as a checked claim: what the user gives, or the best of what its file states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsi_idc.errors import ScaleError
from wsi_idc.slides.length import length_um, micrometres
from wsi_idc.slides.tiff.ome import is_ome_xml

PLAUSIBLE_MPP = (0.05, 20.0)
MAX_ANISOTROPY = 0.02
# What an objective tells contradicts another source where they are further apart than this: vendors round its power.
_CONTRADICTION = 1.5
# Other sources contradict each other from here on: areas differ by more than 6 %, which no rounding explains.
_APART = 1.03
# What a user gives is another scale than what the file states where they are further apart: areas differ by 2 %.
_ROUNDED = 1.01
_IMAGEJ_UNIT = re.compile(r"^unit=(.+?)\s*$", re.MULTILINE)


def _of_axes(pattern: str, x: str = "", y: str = "", flags: int = 0) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return a pattern with AXIS as each of the two axes is called; both are the same where it has none."""
    return re.compile(pattern.replace("AXIS", x), flags), re.compile(pattern.replace("AXIS", y), flags)


# What viewers and converters write of the width and the height of a pixel into the description of a plain TIFF, in um,
# or with a unit behind it.
_DESCRIBED = (
    _of_axes(r"(?:^|[|\s;,])MPP\s*=\s*(?P<um>[0-9.,eE+-]+)"),
    # At the beginning of a line or an entry, as below.
    _of_axes(
        r"(?:^|[|;,{\"])[ \t]*(?:mpp|microns?[ _]?per[ _]?pixel)(?:[ _]?AXIS)?\"?"
        r"[ \t]*[=:][ \t]*\"?(?P<um>[0-9.,eE+-]+)",
        "x",
        "y",
        re.IGNORECASE | re.MULTILINE,
    ),
    _of_axes(r"<PixelSizeMicrons>\s*(?P<um>[0-9.,eE+-]+)"),
    _of_axes(r"openslide\.mpp-AXIS</name>\s*<value[^>]*>\s*(?P<um>[0-9.,eE+-]+)", "x", "y"),
    _of_axes(
        r"PhysicalSizeAXIS\"?\s*[=:]\s*\"?(?P<um>[0-9.,eE+-]+)\"?"
        r"(?:[\s,]*\"?PhysicalSizeAXISUnit\"?\s*[=:]\s*\"?(?P<unit>[^\s\";,}]+))?",
        "X",
        "Y",
    ),
    # At the beginning of a line or an entry: that of a camera, or of a thumbnail, is another one.
    _of_axes(
        r"(?:^|[|;,{\"])[ \t]*(?:(?:image|physical|effective|slide|sample|scan)[ _]?)?pixel[ _]?(?:AXIS|size)"
        r"(?:_?um|_?microns|[ \t]*\([uµμ]m\))?\"?[ \t]*[=:]"
        r"[ \t]*\"?(?P<um>[0-9.,eE+-]+)\"?(?:[ \t]*[x×][ \t]*(?P<height>[0-9.,eE+-]+))?[ \t]*(?P<unit>[^\s\d\";,=:}]*)",
        "width",
        "height",
        re.IGNORECASE | re.MULTILINE,
    ),
)
_DESCRIBED_POWER = re.compile(r"(?:AppMag|NominalMagnification)\s*[=:]\s*\"?([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Mpp:
    """The scale of a slide in um per level-0 pixel, and where it comes from.

    `estimated` marks a value derived from the objective power, which vendors round (40x is 0.22 to 0.27 um/px).
    """

    x: float
    y: float
    source: str
    estimated: bool = False


def claim_mpp(path: Path, properties: Mapping[str, str], given: float | None = None, giver: str = "--mpp") -> Mpp:
    """Settle the scale of a slide: given by the user, else the first of `find_claims`; `giver` names who gave it.

    Raises ScaleError where there is none, or where it is implausible (outside 0.05 to 20 um/px) or differs by more
    than 2 % between the axes: wrong by a factor, a scale makes every later number wrong.
    """
    claim = Mpp(given, given, giver) if given is not None else find_claim(properties)
    way_out = "give the true scale with --mpp (40x is usually 0.25, 20x 0.5 um/px)"
    if claim is None:
        raise ScaleError(f"{path}: the file does not state its scale in um per pixel; {way_out}")
    if not is_plausible(claim):
        low, high = PLAUSIBLE_MPP
        raise ScaleError(
            f"{path}: a scale of {claim.x:.6g} x {claim.y:.6g} um/px ({claim.source}) is outside "
            f"{low} to {high} and cannot be true; {way_out}"
        )
    if max(claim.x, claim.y) > (1 + MAX_ANISOTROPY) * min(claim.x, claim.y) * (1 + 1e-9):
        raise ScaleError(
            f"{path}: its pixels are not square: {claim.x:.6g} x {claim.y:.6g} um/px ({claim.source}); {way_out}"
        )
    return claim


def is_plausible(claim: Mpp) -> bool:
    """Say whether a claim can be true, for pixels of a slide."""
    low, high = PLAUSIBLE_MPP
    return low <= claim.x <= high and low <= claim.y <= high


def given_mpp(
    properties: Mapping[str, str], listed: float | None, mpp: float | None, missing: float | None
) -> tuple[float | None, str]:
    """Return the scale that a user gave for a slide, None where what its file states holds, and what gave it.

    What a list says of the slide counts most, then `mpp` for all slides; `missing` is for those that state nothing that
    can be true.
    """
    if listed is not None or mpp is not None:
        return (mpp, "--mpp") if listed is None else (listed, "the list's mpp")
    stated = find_claim(properties)
    return (None, "--mpp") if missing is None or (stated and is_plausible(stated)) else (missing, "--mpp-missing")


def find_claim(properties: Mapping[str, str]) -> Mpp | None:
    """Return the scale that the properties of a file state, unchecked, from the best source; None without any."""
    claims = find_claims(properties)
    return claims[0] if claims else None


def find_claims(properties: Mapping[str, str]) -> list[Mpp]:
    """Return every scale that the properties of a file state, unchecked, the surest first."""
    vendor = properties.get("openslide.vendor", "")
    found = []
    if fastslide := _pair(properties, "fastslide.mpp-x", "fastslide.mpp-y"):
        found.append(Mpp(*fastslide, f"fastslide ({vendor})"))
    if ngff := _pair(properties, "ngff.mpp-x", "ngff.mpp-y"):
        found.append(Mpp(*ngff, "OME-Zarr scale"))
    if ome := _pair(properties, "ome.mpp-x", "ome.mpp-y"):
        found.append(Mpp(*ome, "OME PhysicalSize"))
    stated = _pair(properties, "openslide.mpp-x", "openslide.mpp-y")
    # For a generic TIFF OpenSlide itself derives the mpp from the resolution tags.
    if stated and vendor != "generic-tiff":
        found.insert(0, Mpp(*stated, f"openslide.mpp ({vendor})"))
    if described := _described(properties):
        found.append(described)
    if stated and vendor == "generic-tiff":
        found.append(Mpp(*stated, "TIFF resolution tags"))
    elif tags := _resolution_tags(properties):
        found.append(Mpp(*tags, "TIFF resolution tags"))
    if volume := _imaged_volume(properties):
        found.append(Mpp(*volume, "DICOM imaged volume"))
    power = number(properties.get("openslide.objective-power")) or _described_power(properties)
    if power:
        found.append(Mpp(10 / power, 10 / power, f"objective power {power:g} (estimate)", estimated=True))
    return found


def contradictions(properties: Mapping[str, str], given: float | None = None, giver: str = "--mpp") -> list[str]:
    """Say, one sentence each, which sources of the scale of a file contradict the one that counts.

    Where a scale was `given`, whether the file states another one. What cannot be true, such as tags of 72 dots per
    inch, contradicts nothing.
    """
    claims = [claim for claim in find_claims(properties) if is_plausible(claim)]
    if given is not None:
        # Of an estimate by the power of an objective, more than vendors round.
        apart = [(c, _CONTRADICTION if c.estimated else _ROUNDED) for c in claims[:1]]
        return [
            f"the file states {claim.x:.4g} um/px ({claim.source}), but {giver} {given:g} was used"
            for claim, most in apart
            if max(claim.x / given, given / claim.x) > most
        ]
    return [
        f"the file states {_shown(other)} um/px by its {_named(other)}, but {_shown(claims[0])} um/px by its "
        f"{_named(claims[0])}, which was used; if that is wrong, give the true scale with --mpp"
        for other in claims[1:]
        if _contradict(claims[0], other)
    ]


def _contradict(one: Mpp, other: Mpp) -> bool:
    """Say whether two sources cannot both be true."""
    quotients = (one.x / other.x, one.y / other.y)
    most = _CONTRADICTION if one.estimated or other.estimated else _APART
    return max(*quotients, 1 / min(quotients)) > most


def _shown(claim: Mpp) -> str:
    """Write a scale, both axes of it where they differ."""
    x, y = f"{claim.x:.4g}", f"{claim.y:.4g}"
    return x if x == y else f"{x} x {y}"


def _named(claim: Mpp) -> str:
    return claim.source.replace("openslide.mpp", "metadata").replace(" (estimate)", "")


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


def _imaged_volume(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """Return the um per pixel that a DICOM slide states by how large, in mm, the whole of it is."""
    size = _pair(properties, "dicom.ImagedVolumeWidth", "dicom.ImagedVolumeHeight")
    pixels = _pair(properties, "dicom.TotalPixelMatrixColumns", "dicom.TotalPixelMatrixRows")
    return (1000 * size[0] / pixels[0], 1000 * size[1] / pixels[1]) if size and pixels else None


def _description(properties: Mapping[str, str]) -> str:
    """Return the beginning of the description of a TIFF; nothing of OME-XML, which is of several images."""
    text = properties.get("tiff.ImageDescription", "")[:100_000]
    return "" if is_ome_xml(text) else text


def _described(properties: Mapping[str, str]) -> Mpp | None:
    """Return the scale that the description of a TIFF states: of ImageJ with its resolution, else in words."""
    text = _description(properties)
    if text.startswith("ImageJ="):
        unit = _IMAGEJ_UNIT.search(text)
        um = micrometres(unit[1]) if unit else None
        per_unit = _pair(properties, "tiff.XResolution", "tiff.YResolution")
        # In inches or centimetres the tags say it themselves.
        if um and per_unit and properties.get("tiff.ResolutionUnit", "none") == "none":
            return Mpp(um / per_unit[0], um / per_unit[1], "ImageJ description")
    for of_width, of_height in _DESCRIBED:
        if width := _length(of_width.search(text)):
            height = _length(of_width.search(text), "height") or _length(of_height.search(text)) or width
            return Mpp(width, height, "image description")
    return None


def _length(found: re.Match[str] | None, group: str = "um") -> float | None:
    """Return the um that a place in a text states by a group; None where there is none, or no such group."""
    stated = found.groupdict() if found else {}
    number = stated.get(group)
    return length_um(number.rstrip(",."), stated.get("unit") or "um") if number else None


def _described_power(properties: Mapping[str, str]) -> float | None:
    found = _DESCRIBED_POWER.search(_description(properties))
    return number(found[1]) if found else None
