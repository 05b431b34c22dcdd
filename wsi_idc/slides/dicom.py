"""The headers of DICOM slides: which files are slides, which belong together, and the scale of each level."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from wsi_idc.errors import SlideError
from wsi_idc.slides.pyramid import Shape, downsample_of, may_be_padded
from wsi_idc.slides.tiff.pages import LARGEST_TILE

_MAGIC = b"DICM"
_PREAMBLE = 128
# As much of a file as holds what is looked for; the table of frames behind it can be large.
_HEAD = 1 << 20
# The class of the object in the header of the file (0002,0002), and that of images of slides.
_CLASS = re.compile(rb"\x02\x00\x02\x00UI..([0-9.]+)", re.DOTALL)
_SLIDE_CLASS = b"1.2.840.10008.5.1.4.1.1.77.1.6"
# Elements in explicit little endian, which every DICOM file that OpenSlide reads is written in.
_SERIES = (0x0020, 0x000E)
# What begins and ends the items of sequences, and the representations of values whose length takes four bytes.
_DELIMITERS, _ITEM, _UNSTATED = 0xFFFE, (0xFFFE, 0xE000), 0xFFFFFFFF
_WIDE = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_ROWS = re.compile(rb"\x28\x00\x10\x00US\x02\x00(..)", re.DOTALL)
_COLUMNS = re.compile(rb"\x28\x00\x11\x00US\x02\x00(..)", re.DOTALL)
_TOTAL_COLUMNS = re.compile(rb"\x48\x00\x06\x00UL\x04\x00(....)", re.DOTALL)
_TOTAL_ROWS = re.compile(rb"\x48\x00\x07\x00UL\x04\x00(....)", re.DOTALL)
_SPACING = re.compile(rb"\x28\x00\x30\x00DS..([0-9.eE+-]+)\\([0-9.eE+-]+)", re.DOTALL)


def is_dicom(path: Path) -> bool:
    """Say whether a file is DICOM by its content; False where it cannot be read."""
    return _head(path, _PREAMBLE + 4)[_PREAMBLE:] == _MAGIC


def is_dicom_slide(path: Path) -> bool | None:
    """Say whether a file is an image of a DICOM slide, by its content; None where that cannot be told."""
    head = _head(path, 1 << 12)
    found = _CLASS.search(head)
    if head[_PREAMBLE : _PREAMBLE + 4] != _MAGIC:
        return None if not head else False
    return found[1] == _SLIDE_CLASS if found else None


def check_tiles(path: Path) -> None:
    """Raise SlideError where a file claims tiles that no decoder can hold: OpenSlide ends the process for them."""
    shape = _shape(_head(path))
    if shape is not None and not 0 < shape.tile[0] * shape.tile[1] <= LARGEST_TILE:
        raise SlideError(
            f"{path}: it claims tiles of {shape.tile[0]} x {shape.tile[1]} px, more than can be decoded; "
            "the header is damaged, or export the slide with tiles of at most 4096 px"
        )


def group_by_series(files: Iterable[Path]) -> list[list[Path]]:
    """Group DICOM files by series, in their order; a file without a series stands alone."""
    groups: dict[bytes, list[Path]] = {}
    for path in files:
        groups.setdefault(_series(_head(path)) or os.fsencode(path), []).append(path)
    return list(groups.values())


def level_downsamples(path: Path, levels: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """Return the downsample of each level, given by its size, of the DICOM slide that a file belongs to.

    It is that of the stated pixel spacings, where levels are padded to whole tiles. Levels whose sizes contradict them
    are left out, as are those of one size. `levels` begin with level 0.
    """
    own = _series(_head(path))
    shapes = {size: {Shape(*size)} for size in levels}
    for file in sorted(path.parent.iterdir()):
        head = _head(file)
        of_slide = file == path or (own is not None and _series(head) == own)
        if of_slide and (shape := _shape(head)) is not None and (shape.width, shape.height) in shapes:
            shapes[shape.width, shape.height] |= {shape}
    # What a header says is more than the mere size.
    known = {size: max(found, key=lambda s: (s.mpp is not None, s.tile)) for size, found in shapes.items()}
    full = known[levels[0]]
    found = {size: downsample_of(v, full) for size, v in known.items() if v is full or not may_be_padded(v, full)}
    return {size: d for size, d in found.items() if d is not None and d > 1 and levels.count(size) == 1}


def _series(head: bytes) -> bytes | None:
    """Return the series of an image, from the beginning of its file; not one that it refers to in a sequence."""
    at, depth = _PREAMBLE + len(_MAGIC), 0
    while at + 8 <= len(head):
        tag = struct.unpack_from("<HH", head, at)
        if tag[0] == _DELIMITERS:
            length, at = struct.unpack_from("<I", head, at + 4)[0], at + 8
            nested = tag == _ITEM
        else:
            kind = head[at + 4 : at + 6]
            wide = kind in _WIDE
            if wide and at + 12 > len(head):
                break
            length = struct.unpack_from("<I" if wide else "<H", head, at + (8 if wide else 6))[0]
            at += 12 if wide else 8
            if not depth and tag >= _SERIES:
                found = head[at : at + length].rstrip(b"\0 ")
                return found if tag == _SERIES and found else None
            nested = kind in (b"SQ", b"UN")
        # An end that is not stated is marked.
        if length == _UNSTATED:
            depth += nested
        elif tag[0] == _DELIMITERS and not nested:
            depth -= 1
        else:
            at += length
    return None


def _shape(head: bytes) -> Shape | None:
    """Return size, tiles and scale of an image, from the beginning of its file; None where it states no size."""
    total = [pattern.search(head) for pattern in (_TOTAL_COLUMNS, _TOTAL_ROWS)]
    tile = [pattern.search(head) for pattern in (_COLUMNS, _ROWS)]
    if total[0] is None or total[1] is None or tile[0] is None or tile[1] is None:
        return None
    width, height = (struct.unpack("<I", match[1])[0] for match in (total[0], total[1]))
    wide, high = (struct.unpack("<H", match[1])[0] for match in (tile[0], tile[1]))
    spacing = _SPACING.search(head)
    mpp = None
    if spacing:
        try:
            # Row spacing comes first, in mm: the distance of rows is along y.
            y, x = (float(value) * 1000 for value in (spacing[1], spacing[2]))
            mpp = (x, y) if x > 0 and y > 0 else None
        except ValueError:
            mpp = None
    return Shape(width, height, (wide, high), mpp)


def _head(path: Path, size: int = _HEAD) -> bytes:
    try:
        # Not what is no file: to open a pipe would wait for ever.
        if not path.is_file():
            return b""
        with path.open("rb") as stream:
            return stream.read(size)
    except OSError:
        return b""
