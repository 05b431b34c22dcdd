"""What OME-XML says of the images of a file: their names, scales, objectives, and where their planes lie."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from xml.etree import ElementTree

from wsi_idc.slides.length import length_um

# Names of channels that are the primary colours of one RGB image; others are stains, mostly fluorescent.
_PRIMARIES = {"red": 0, "r": 0, "green": 1, "g": 1, "blue": 2, "b": 2}
# Colours that channels of one RGB image are shown in.
_SHOWN = ("FF0000", "00FF00", "0000FF")
_NUMBERED = re.compile(r"(channel|ch|c)?[ :_-]*[\d:_ ]*")
_ROOT = re.compile(r"<(?:\w+:)?OME\b")
# Planes of an image that are looked up; a stack of slides has some hundred.
_MOST_PLANES = 100_000


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One image: `planes` are the pages by (z, channel, time); `mpp` um per pixel (x, y), None where not stated.

    `order` has the place of red, green and blue among three channels, None where the channels are something else.
    """

    name: str
    size: tuple[int, int]  # pixels across and down; 0 where not stated
    mpp: tuple[float, float] | None
    power: float | None
    sizes: tuple[int, int, int]  # z, channels as planes, time
    order: tuple[int, int, int] | None
    planes: Mapping[tuple[int, int, int], int] = field(default_factory=dict)


def is_ome_xml(text: str) -> bool:
    """Say whether the description of a TIFF is OME-XML, sound or not."""
    return _ROOT.search(text) is not None


def read_ome(xml: str, file: str) -> list[OmeImage]:
    """Read the images of the OME-XML of `file` in their order; none where it is no XML or makes no sense."""
    try:
        root = ElementTree.fromstring(xml)
        powers = {
            objective.get("ID", ""): _number(objective.get("NominalMagnification"))
            for objective in root.iterfind("{*}Instrument/{*}Objective")
        }
        pairs = [(image, pixels) for image in root.iterfind("{*}Image") for pixels in image.findall("{*}Pixels")[:1]]
        names = [u.get("FileName", "") for _, pixels in pairs for u in pixels.iterfind("{*}TiffData/{*}UUID")]
        # A file that was renamed goes by its old name; one of several by its own, or by that which comes first.
        own = None if len(set(names)) < 2 else file if file in names else names[0]
        return [_image(image, pixels, powers, own) for image, pixels in pairs]
    except (ElementTree.ParseError, ValueError, KeyError):
        return []


def _image(
    image: ElementTree.Element, pixels: ElementTree.Element, powers: Mapping[str, float | None], own: str | None
) -> OmeImage:
    size = {axis: max(1, int(pixels.get(f"Size{axis}", "1"))) for axis in "ZCT"}
    channels = pixels.findall("{*}Channel")
    samples = int(channels[0].get("SamplesPerPixel", "1")) if channels else 1
    counts = (size["Z"], max(1, size["C"] // max(1, samples)), size["T"])
    settings = image.find("{*}ObjectiveSettings")
    x, y = (length_um(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "µm")) for a in "XY")
    # Pixels are square where one side is all that is said.
    x, y = x or y, y or x
    few = counts[0] * counts[1] * counts[2] <= _MOST_PLANES
    return OmeImage(
        name=image.get("Name", ""),
        size=(int(pixels.get("SizeX", "0")), int(pixels.get("SizeY", "0"))),
        mpp=(x, y) if x and y else None,
        power=powers.get(settings.get("ID", "")) if settings is not None else None,
        sizes=counts,
        order=_order(channels) if counts[1] == 3 else None,
        planes=dict(_planes(pixels, counts, own)) if few else {},
    )


def _planes(
    pixels: ElementTree.Element, counts: tuple[int, int, int], own: str | None
) -> Iterator[tuple[tuple[int, int, int], int]]:
    """Give the page of each plane, by (z, channel, time), but of those in other files than `own`."""
    # The axis named first changes fastest; X and Y lie within a plane.
    axes = [axis for axis in pixels.get("DimensionOrder", "XYCZT") if axis in "ZCT"]
    length = dict(zip("ZCT", counts, strict=True))
    every = [
        tuple(dict(zip(reversed(axes), place, strict=True))[axis] for axis in "ZCT")
        for place in product(*(range(length[axis]) for axis in reversed(axes)))
    ]
    number = {place: i for i, place in enumerate(every)}
    left = 2 * _MOST_PLANES
    for data in pixels.iterfind("{*}TiffData"):
        uuid = data.find("{*}UUID")
        if uuid is not None and own is not None and uuid.get("FileName", own) != own:
            continue
        first = (int(data.get("FirstZ", "0")), int(data.get("FirstC", "0")), int(data.get("FirstT", "0")))
        start = number.get(first, 0)
        page = int(data.get("IFD", "0"))
        count = int(data.get("PlaneCount", "1" if "IFD" in data.attrib else str(len(every) - start)))
        if (left := left - min(count, len(every) - start)) < 0:
            raise ValueError("planes that are named again and again")
        for step, place in enumerate(every[start : start + count]):
            yield (place[0], place[1], place[2]), page + step


def _order(channels: list[ElementTree.Element]) -> tuple[int, int, int] | None:
    """Return where red, green and blue lie among three channels; None where they are no primary colours."""
    if any(c.get("EmissionWavelength") or c.get("Fluor") for c in channels):
        return None
    # Red, green, blue and opacity as one number with a sign, white where nothing is said.
    shown = [f"{int(c.get('Color', '-1')) & 0xFFFFFFFF:08X}"[:6] for c in channels]
    return colour_order([c.get("Name", "") for c in channels], shown)


def colour_order(names: Sequence[str], shown: Sequence[str]) -> tuple[int, int, int] | None:
    """Return where red, green and blue lie among three channels; None where they are something else.

    Their names tell, and of channels without names of their own the colours in which they are `shown`, RRGGBB, which
    are equal where nothing is said of them.
    """
    names = [name.strip().lower() for name in names]
    if all(name in _PRIMARIES for name in names) and len({_PRIMARIES[name] for name in names}) == 3:
        place = {_PRIMARIES[name]: i for i, name in enumerate(names)}
        return place[0], place[1], place[2]
    # Unnamed, or all named alike; other names are stains.
    unnamed = all(_NUMBERED.fullmatch(name) for name in names)
    if not (unnamed or len(set(names)) == 1 or all("rgb" in name for name in names)):
        return None
    if set(shown) == set(_SHOWN):
        red, green, blue = (list(shown).index(colour) for colour in _SHOWN)
        return red, green, blue
    # In the order of the file.
    return (0, 1, 2) if len(set(shown)) < 2 else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value > 0 else None
