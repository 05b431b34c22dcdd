"""The images of an OME-Zarr store: one, several, or those that Bio-Formats has converted from one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsi_idc.base.inputs.bounded import read_text
from wsi_idc.errors import SlideError
from wsi_idc.slides.levels.pyramid import Shape, downsample_of, may_be_padded
from wsi_idc.slides.ngff.multiscales import (
    LevelEntry,
    Multiscale,
    channels_of,
    order_of,
    read_multiscales,
    shown_otherwise,
)
from wsi_idc.slides.ngff.plane import Plane
from wsi_idc.slides.ngff.store import XML, Content, Group, is_store, read_group
from wsi_idc.slides.tiff.images import StoredImage, StoredLevel, note_of
from wsi_idc.slides.tiff.ome import OmeImage, read_ome
from wsi_idc.slides.tiff.pages import Page, kind_of

# How far a level may lie from level 0, in pixels of its own: writers state corners, or centres of pixels.
_SHIFT = 1.0
_MOST_SERIES = 1000
# Bytes: some hundred for each of its planes.
_LARGEST_XML = 1 << 26


@dataclass(frozen=True, slots=True)
class NgffImage:
    """One image of a store: what it is, as any reader has it, the pixels of its levels, and what is doubtful of it.

    `mpp` is the scale that its own attributes state, um per pixel (x, y), and `described` what OME-XML says of it.
    """

    stored: StoredImage
    planes: tuple[Plane, ...]
    notes: tuple[str, ...]
    mpp: tuple[float, float] | None
    described: OmeImage | None


def read_images(folder: Path) -> list[NgffImage]:
    """Read the images of an OME-Zarr store in their order; raises SlideError with the reason where there are none."""
    group = read_group(folder)
    if not group.content.is_slide:
        raise SlideError(f"{folder}: {group.content.value}")
    if group.content is Content.IMAGE:
        described = _described(folder.parent, folder.name)
        return _images(group, 0, described or _described(folder, ""))
    series = _series(folder)
    found: list[NgffImage] = []
    for name in series:
        found += _images(read_group(folder / name), len(found), _described(folder, name))
    if not found:
        raise SlideError(f"{folder}: lists several images, but holds none; is it whole?")
    return found


def _series(folder: Path) -> list[str]:
    """Return the names of the groups of a collection that are images, in their order."""
    listed = read_group(folder / "OME").ome.get("series") if is_store(folder / "OME") else None
    if isinstance(listed, list) and all(isinstance(name, str) and ".." not in Path(name).parts for name in listed):
        return listed[:_MOST_SERIES]
    return [str(n) for n in range(_MOST_SERIES) if is_store(folder / str(n))]


def _described(folder: Path, name: str) -> OmeImage | None:
    """Return what the OME-XML of a collection says of the image of this name in it."""
    try:
        xml = read_text(folder / XML, _LARGEST_XML, errors="replace")
        described = read_ome(xml, folder.name)
        names = _series(folder) if name else []
    except (OSError, SlideError):
        return None
    if not name:
        return described[0] if len(described) == 1 else None
    return described[names.index(name)] if name in names and len(names) == len(described) else None


def _images(group: Group, first: int, described: OmeImage | None) -> list[NgffImage]:
    """Read the images of a group; the number of its first one is `first`."""
    folder = group.folder
    try:
        found = read_multiscales(group)
    except ValueError as error:
        raise SlideError(f"{folder}: {error}") from error
    return [_image(group, first + i, image, described if len(found) == 1 else None) for i, image in enumerate(found)]


def _image(group: Group, number: int, image: Multiscale, described: OmeImage | None) -> NgffImage:
    at, notes = _planes(group, image)
    finest, full = max(at.items(), key=lambda item: item[1].width * item[1].height)
    order, colours = _colours(group, full, described)
    unit, scale = image.unit_um, finest.scale
    own = (scale[0] * unit[0], scale[1] * unit[1]) if unit and scale else None
    mpp = own or (described.mpp if described else None)
    found = [(1.0, full)]
    for entry, plane in at.items():
        downsample = 1.0 if plane is full else _downsample(image, (entry, finest), (plane, full))
        if downsample is None:
            notes.append(
                f"its smaller copy of {plane.width} x {plane.height} px does not agree with the slide in size, scale, "
                "place or kind; it was not used"
            )
        elif downsample > 1:
            found.append((downsample, plane))
    found.sort(key=lambda one: one[0])
    if order is not None:
        for _, plane in found:
            plane.take_colours(order)
        if shown_otherwise(channels_of(group)):
            notes.append("its `omero` settings show it inverted or stretched; its pixels were taken as they are stored")
    name = (described.name if described else "") or image.name
    stored = StoredImage(
        tuple(StoredLevel((_page((number, i), p, None if i else mpp, colours),), d) for i, (d, p) in enumerate(found)),
        kind=kind_of(name),
        name=name,
        mpp=mpp,
        power=described.power if described else None,
        note=note_of(full.shape.get("z", 1), full.shape.get("t", 1)),
        is_ome=True,
    )
    return NgffImage(stored, tuple(plane for _, plane in found), tuple(notes), own, described)


def _planes(group: Group, image: Multiscale) -> tuple[dict[LevelEntry, Plane], list[str]]:
    """Open the levels of an image, and say which cannot be; raises SlideError where that may be the finest."""
    found: dict[LevelEntry, Plane] = {}
    lost: dict[LevelEntry, SlideError] = {}
    for entry in image.levels:
        try:
            found[entry] = _opened(group, image, entry)
        except SlideError as error:
            lost[entry] = error
    scales = [entry.scale[0] for entry in found if entry.scale]
    for entry, problem in lost.items():
        if not scales or entry is image.levels[0] or (entry.scale and entry.scale[0] < min(scales)):
            raise problem
    return found, [f"its smaller copy {entry.path} cannot be read, and was not used" for entry in lost]


def _opened(group: Group, image: Multiscale, entry: LevelEntry) -> Plane:
    try:
        return Plane(group.folder / entry.path, image.axes, group.zarr_format)
    except SlideError:
        raise
    except Exception as error:
        # Whatever damaged metadata make of Zarr, and codecs that are not there: ValueError, KeyError, TypeError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SlideError(
            f"{group.folder}: level {entry.path} cannot be opened ({reason}); is the store whole?"
        ) from error


def _downsample(image: Multiscale, entries: tuple[LevelEntry, LevelEntry], planes: tuple[Plane, Plane]) -> float | None:
    """Return how many pixels of the finest level, the second, the first spans; None where that contradicts itself."""
    (entry, finest), (plane, full) = entries, planes
    if plane.dtype != full.dtype or any(plane.shape[a] != full.shape[a] for a in image.axes if a not in "xy"):
        return None
    level, whole = (Shape(p.width, p.height, p.tile, e.scale) for p, e in zip(planes, entries, strict=True))
    downsample = downsample_of(level, whole)
    if downsample is None or may_be_padded(level, whole):
        return None
    if finest.scale is not None:
        away = [(a - b) / s for a, b, s in zip(entry.translation, finest.translation, finest.scale, strict=True)]
        if max(map(abs, away)) > _SHIFT * downsample:
            return None
    return downsample


def _colours(group: Group, plane: Plane, described: OmeImage | None) -> tuple[tuple[int, int, int] | None, str]:
    """Return where red, green and blue lie among the channels, and what the colours are, as a page of a TIFF has it."""
    if several := [axis for axis, size in plane.shape.items() if axis not in "xyczt" and size > 1]:
        return None, f"several places along {', '.join(several)}"
    channels, count = channels_of(group), plane.shape.get("c", 1)
    order = order_of(channels) if count == 3 else None
    if order is not None and described is not None and described.sizes[1] == 3:
        # The XML tells stains where the attributes say nothing.
        order = None if described.order is None else order if channels else described.order
    if order is not None:
        return order, "RGB"
    named = ", ".join(str(channel.get("label") or "?") for channel in channels[:6])
    return None, "grey" if count == 1 else f"separate channels, not RGB ({named or 'unnamed'})"


def _page(at: tuple[int, int], plane: Plane, mpp: tuple[float, float] | None, colours: str) -> Page:
    shape, dtype = Shape(plane.width, plane.height, plane.tile, mpp), plane.dtype
    return Page.of_other(
        at, shape, samples=plane.shape.get("c", 1), bits=8 * dtype.itemsize, colours=colours, signed=dtype.kind != "u"
    )


def missing_notes(image: NgffImage) -> tuple[list[int], list[str]]:
    """Look which chunks of an image are not in its store: the levels that can be used, and what to say of it.

    Raises ValueError where none of the finest level is there.
    """
    finest, of_finest = image.planes[0], image.planes[0].missing()
    if of_finest.all():
        raise ValueError("none of the chunks of its finest level are in the store; is it whole?")
    usable, notes = [0], []
    if lost := int(np.count_nonzero(of_finest)):
        notes.append(
            f"{lost} of the {of_finest.size} chunks of the image are not in its store, and were taken as not scanned; "
            "if it was copied, is it whole?"
        )
    for number, plane in enumerate(image.planes[1:], 1):
        if plane.lacks(plane.missing(), finest, of_finest):
            notes.append(
                f"its smaller copy of {plane.width} x {plane.height} px lacks chunks of what was scanned, and was not "
                "used"
            )
        else:
            usable.append(number)
    return usable, notes
