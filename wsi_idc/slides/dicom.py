"""The headers of DICOM slides: which files are slides, which belong together, and the scale of each level."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from wsi_idc.errors import SlideError
from wsi_idc.slides.levels.pyramid import Shape, downsample_of, may_be_padded
from wsi_idc.slides.tiff.pages import LARGEST_TILE

_MAGIC = b"DICM"
_PREAMBLE = 128

_Tag = tuple[int, int]
# What each file of a slide states of itself, by tag.
Headers = Sequence[tuple[Path, Mapping[_Tag, bytes]]]
_CLASS, _KIND, _SERIES, _PART = (0x0002, 0x0002), (0x0008, 0x0008), (0x0020, 0x000E), (0x0020, 0x9161)
_ORGANISATION, _ROWS, _COLUMNS, _SPACING = (0x0020, 0x9311), (0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0030)
_TOTAL_COLUMNS, _TOTAL_ROWS = (0x0048, 0x0006), (0x0048, 0x0007)
_SEVERAL = {(0x0048, 0x0302): "optical paths", (0x0048, 0x0303): "focal planes"}
# Where each frame lies; nothing that counts here comes behind it.
_PLACES = (0x5200, 0x9230)
_SLIDE_CLASS = b"1.2.840.10008.5.1.4.1.1.77.1.6"
# What begins and ends the items of sequences, and the representations of values whose length takes four bytes.
_DELIMITERS, _ITEM, _UNSTATED = 0xFFFE, (0xFFFE, 0xE000), 0xFFFFFFFF
_WIDE = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
# Of text, which is filled up to an even length.
_TEXT = {b"CS", b"DS", b"UI"}
# Longer values are passed over, and so is the rest of a header of more elements: no slide has as many.
_LONGEST, _MOST = 1024, 20_000


def is_dicom(path: Path) -> bool:
    """Say whether a file is DICOM by its content; False where it cannot be read."""
    return bool(_header(path))


def is_dicom_slide(path: Path) -> bool | None:
    """Say whether a file is an image of a DICOM slide, by its content; None where that cannot be told."""
    header = _header(path)
    if not header:
        return None if header is None else False
    return header[_CLASS] == _SLIDE_CLASS if _CLASS in header else None


def slide_headers(path: Path) -> Headers:
    """Return the files of the DICOM slide that a file belongs to, in order of name, each with its header."""
    # What a system keeps beside a file begins with a point, and may be a piece of it.
    beside = [file for file in sorted(path.parent.iterdir()) if file == path or not file.name.startswith(".")]
    headers = {file: _header(file) or {} for file in beside}
    # Where case does not count, it may be listed by another name.
    own = (headers.get(path) or _header(path) or {}).get(_SERIES)
    return [(file, v) for file, v in headers.items() if v and (file == path or (own and v.get(_SERIES) == own))]


def check_headers(headers: Headers) -> None:
    """Raise SlideError where a slide, by the headers of its files, is none that OpenSlide reads, and why.

    Of what it declines it names no way out, and for some headers it ends the process.
    """
    levels: dict[tuple[int, int], Path] = {}
    for file, header in headers:
        shape = _shape(header)
        if shape is not None and not 0 < shape.tile[0] * shape.tile[1] <= LARGEST_TILE:
            raise SlideError(
                f"{file}: it claims tiles of {shape.tile[0]} x {shape.tile[1]} px, more than can be decoded; "
                "the header is damaged, or export the slide with tiles of at most 4096 px"
            )
        for tag, what in _SEVERAL.items():
            if (count := _number(header, tag)) > 1:
                raise SlideError(f"{file}: it has {count} {what}, of which OpenSlide reads none; export one of them")
        if header.get(_ORGANISATION) == b"TILED_SPARSE" and _PLACES not in header:
            raise SlideError(f"{file}: its tiles are scattered, and it does not state where they lie; export it anew")
        if shape is None or b"VOLUME" not in header.get(_KIND, b"") or _PART in header:
            continue
        other = levels.setdefault((shape.width, shape.height), file)
        if other != file:
            raise SlideError(
                f"{file}: {other.name} in the same series is as large, {shape.width} x {shape.height} px: "
                "a level, focal plane or optical path of a slide given twice; move one of them away"
            )


def group_by_series(files: Iterable[Path]) -> list[list[Path]]:
    """Group DICOM files by series, in their order; a file without a series stands alone."""
    groups: dict[bytes, list[Path]] = {}
    for path in files:
        groups.setdefault((_header(path) or {}).get(_SERIES) or os.fsencode(path), []).append(path)
    return list(groups.values())


def level_downsamples(headers: Headers, levels: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """Return the downsample of each level, given by its size, of a DICOM slide, by the headers of its files.

    It is that of the stated pixel spacings, where levels are padded to whole tiles. Levels whose sizes contradict them
    are left out, as are those of one size. `levels` begin with level 0.
    """
    shapes = {size: {Shape(*size)} for size in levels}
    for _, header in headers:
        if (shape := _shape(header)) is not None and (shape.width, shape.height) in shapes:
            shapes[shape.width, shape.height] |= {shape}
    # What a header says is more than the mere size.
    known = {size: max(found, key=lambda s: (s.mpp is not None, s.tile)) for size, found in shapes.items()}
    full = known[levels[0]]
    found = {size: downsample_of(v, full) for size, v in known.items() if v is full or not may_be_padded(v, full)}
    return {size: d for size, d in found.items() if d is not None and d > 1 and levels.count(size) == 1}


def _shape(header: Mapping[_Tag, bytes]) -> Shape | None:
    """Return size, tiles and scale of an image; None where its header states no size."""
    width, height, wide, high = (_number(header, tag) for tag in (_TOTAL_COLUMNS, _TOTAL_ROWS, _COLUMNS, _ROWS))
    if not all(tag in header for tag in (_TOTAL_COLUMNS, _TOTAL_ROWS, _COLUMNS, _ROWS)):
        return None
    mpp = None
    try:
        # Row spacing comes first, in mm: the distance of rows is along y.
        y, x = (float(value) * 1000 for value in header.get(_SPACING, b"").split(b"\\"))
        mpp = (x, y) if 0 < x < math.inf and 0 < y < math.inf else None
    except ValueError:
        pass
    return Shape(width, height, (wide, high), mpp)


def _number(header: Mapping[_Tag, bytes], tag: _Tag) -> int:
    return int.from_bytes(header.get(tag, b""), "little")


def _header(path: Path) -> dict[_Tag, bytes] | None:
    """Return what a file states of itself, by tag; nothing where it is not DICOM, None where it cannot be read."""
    try:
        # Not what is no file: to open a pipe would wait for ever.
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            return _elements(stream) if stream.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC else {}
    except OSError:
        return None


def _elements(stream: BinaryIO) -> dict[_Tag, bytes]:
    """Return the elements of a file that lie in no sequence, which may be about another image, and the pixel spacing.

    It is in explicit little endian, as every DICOM file that OpenSlide reads. Of where each frame lies only that this
    is stated is returned, not what.
    """
    found: dict[_Tag, bytes] = {}
    # The ends of the sequences and items one is in, and whether what is in them states its representations.
    ends: list[tuple[float, bool]] = []
    for _ in range(_MOST):
        while ends and stream.tell() >= ends[-1][0]:
            ends.pop()
        if len(begun := stream.read(8)) < 8:
            break
        tag = struct.unpack_from("<HH", begun)
        explicit = not ends or ends[-1][1]
        kind = begun[4:6] if explicit and tag[0] != _DELIMITERS else b""
        if kind in _WIDE:
            length = int.from_bytes(stream.read(4), "little")
        else:
            length = int.from_bytes(begun[6:] if kind else begun[4:], "little")
        if not ends and tag >= _PLACES:
            return found | ({_PLACES: b""} if tag == _PLACES else {})
        at = stream.tell()
        # An end that is not stated is marked.
        end = math.inf if length == _UNSTATED else at + length
        if tag[0] == _DELIMITERS and tag != _ITEM:
            del ends[-1:]
        elif tag == _ITEM or kind == b"SQ" or end == math.inf:
            # Within a sequence of unknown kind nothing states its representation.
            ends.append((end, explicit and kind != b"UN"))
        else:
            if (not ends or tag == _SPACING) and length <= _LONGEST:
                value = stream.read(length)
                found.setdefault(tag, value.rstrip(b"\0 ") if kind in _TEXT else value)
            stream.seek(at + length)
    return found
