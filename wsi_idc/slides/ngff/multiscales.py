"""What the attributes of OME-Zarr say of an image: its axes, its levels, their scales, and what its channels are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from wsi_idc.slides.length import micrometres
from wsi_idc.slides.ngff.store import Group
from wsi_idc.slides.tiff.ome import colour_order

_VERSIONS = ("0.4", "0.5")
# Grey values that are shown from black to white, of 256: fewer are another picture.
_STRETCHED = 192
_TYPES = {"channel": "c", "time": "t"}


@dataclass(frozen=True, slots=True)
class LevelEntry:
    """One level: the path of its array, and scale and place of its pixels along (x, y), in the units of the axes."""

    path: str
    scale: tuple[float, float] | None
    translation: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Multiscale:
    """One image as its attributes have it: `axes` by letter, in the order of the arrays, and its levels.

    `unit_um` is how many um the units of x and y are, None where none is stated or it is no length.
    """

    name: str
    axes: tuple[str, ...]
    levels: tuple[LevelEntry, ...]
    unit_um: tuple[float, float] | None


def read_multiscales(group: Group) -> list[Multiscale]:
    """Read the images of a group; raises ValueError with the reason where they are none of version 0.4 or 0.5."""
    found = group.ome.get("multiscales")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("its multiscales are no list of images")
    images: list[Multiscale] = []
    for one in found:
        version = str(group.ome.get("version") or one.get("version") or "")
        if not (version.startswith(_VERSIONS) or (not version and all(isinstance(a, dict) for a in _axes(one)))):
            raise ValueError(
                f"it is OME-Zarr of version {version or 'not stated'}; 0.4 and 0.5 are read, convert it anew with a "
                "newer bioformats2raw or ome-zarr-py"
            )
        image = _multiscale(one)
        # The same pixels may be listed again, as made smaller in another way.
        if all(image.levels[0].path != other.levels[0].path for other in images):
            images.append(image)
    return images


def _axes(one: Mapping[str, Any]) -> list[Any]:
    axes = one.get("axes")
    return axes if isinstance(axes, list) else [None]


def _multiscale(one: Mapping[str, Any]) -> Multiscale:
    listed = [axis for axis in _axes(one) if isinstance(axis, dict)]
    axes = tuple(_TYPES.get(str(axis.get("type")), str(axis.get("name", "")).lower()) for axis in listed)
    if len(set(axes)) < len(axes) or not {"x", "y"} <= set(axes):
        raise ValueError(
            f"its axes are {', '.join(axes) or 'not stated'}; those of a slide are y and x, and c of colours"
        )
    datasets = one.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        raise ValueError("its multiscales list no datasets")
    whole, _ = _transformed(one.get("coordinateTransformations"), axes, (1.0, 1.0))
    levels = []
    for entry in datasets:
        path = str(entry.get("path", "")) if isinstance(entry, dict) else ""
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts:
            raise ValueError(f"a level of it lies at {path!r}, which is no place in the store")
        scale, translation = _transformed(entry.get("coordinateTransformations"), axes)
        if whole is None or scale is None:
            scale = None
        else:
            scale = scale[0] * whole[0], scale[1] * whole[1]
            translation = translation[0] * whole[0], translation[1] * whole[1]
        levels.append(LevelEntry(path, scale, translation))
    units = [micrometres(str(listed[axes.index(axis)].get("unit") or "")) for axis in "xy"]
    return Multiscale(
        name=str(one.get("name") or ""),
        axes=axes,
        levels=tuple(levels),
        unit_um=(units[0], units[1]) if units[0] and units[1] else None,
    )


def _transformed(
    listed: Any, axes: Sequence[str], unsaid: tuple[float, float] | None = None
) -> tuple[tuple[float, float] | None, tuple[float, float]]:
    """Return scale and translation along (x, y); `unsaid` is the scale where none is stated, None one without sense."""
    scale, translation = unsaid, (0.0, 0.0)
    for one in listed if isinstance(listed, list) else []:
        kind = one.get("type") if isinstance(one, dict) else None
        values = _along(one.get(kind), axes) if kind in ("scale", "translation") else None
        if kind == "translation" and values is not None:
            translation = values
        elif kind == "scale" and values is not None and min(values) > 0:
            scale = values
        elif kind != "identity":
            return None, translation
    return scale, translation


def _along(values: Any, axes: Sequence[str]) -> tuple[float, float] | None:
    if not isinstance(values, list) or len(values) != len(axes):
        return None
    try:
        x, y = (float(values[axes.index(axis)]) for axis in "xy")
    except (TypeError, ValueError, OverflowError):
        # Of hundreds of digits it is whole, and no number of pixels.
        return None
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None


def channels_of(group: Group) -> list[dict[str, Any]]:
    """Return what is said of the channels of an image (`omero`), in their order."""
    omero = group.ome.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    return [c for c in channels if isinstance(c, dict)] if isinstance(channels, list) else []


def shown_otherwise(channels: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a viewer would show 8-bit channels inverted, or stretched by a quarter or more."""
    windows = [c["window"] for c in channels if isinstance(c.get("window"), dict)]
    ends = [(w.get("start"), w.get("end")) for w in windows]
    narrow = [isinstance(a, int | float) and isinstance(b, int | float) and b - a < _STRETCHED for a, b in ends]
    return any(narrow) or any(c.get("inverted") is True for c in channels)


def order_of(channels: Sequence[Mapping[str, Any]]) -> tuple[int, int, int] | None:
    """Return where red, green and blue lie among three planes; None where their channels are no primary colours.

    Their names tell, and of channels without names of their own the colours in which they are shown.
    """
    if len(channels) != 3:
        # A single one of three samples is RGB.
        return (0, 1, 2) if len(channels) < 2 else None
    # Some state transparency as well.
    shown = [str(c.get("color") or "").strip().lstrip("#").upper()[:6] for c in channels]
    return colour_order([str(c.get("label") or "") for c in channels], shown)
