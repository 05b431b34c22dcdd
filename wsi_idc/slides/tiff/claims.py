"""What the codes of a tile say of their size, looked at before they are decoded: a decoder would make room for it."""

from __future__ import annotations

import re
from collections.abc import Callable

from wsi_idc.slides.tiff.boxed import Claim, avif, boxes, jpeg_xl

# AVIF has no number of its own.
AVIF = -1
# Pixels that a small tile may have all the same, as where only its rim is in the slide.
_SMALL = 1 << 16
# Samples of a pixel that are counted at least, and tiles within the codes of JPEG 2000, each of which takes 6 kB.
_SAMPLES, _MOST_PARTS = 4, 1024
# Of JPEG: markers of frames, and those that stand alone.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))


def check_claim(compression: int, data: bytes, pixels: int) -> None:
    """Raise ValueError where codes claim more than the `pixels` of their tile, or do not say in their form how large.

    Codecs that have no header, such as deflate, are told by the caller how much they may give.
    """
    reader = _READERS.get(compression)
    if reader is None:
        return
    try:
        wide, high, samples, parts = reader(data)
    except (IndexError, ValueError) as error:
        raise ValueError(f"its codes do not say how large they are{f': {error}' if str(error) else ''}") from error
    if wide * high * max(samples, _SAMPLES) > max(pixels, _SMALL) * _SAMPLES:
        raise ValueError(f"its codes claim {wide} x {high} px{f' of {samples} samples' if samples > _SAMPLES else ''}")
    if parts > _MOST_PARTS:
        raise ValueError(f"its codes claim {parts:,} tiles of their own")


def _jpeg(data: bytes) -> Claim:
    if data[:2] != b"\xff\xd8":
        raise ValueError("not JPEG")
    at = 2
    while data[at] == 0xFF:
        kind = data[at + 1]
        if kind in _FRAMES:
            high, wide = (_big(data, at + i, 2) for i in (5, 7))
            return Claim(wide, high, data[at + 9])
        # Bytes of 255 may stand before a marker.
        at += 1 if kind == 0xFF else 2 if kind in _ALONE else 2 + _big(data, at + 2, 2)
    raise ValueError("no frame")


def _jpeg2000(data: bytes) -> Claim:
    """Read the SIZ marker, which comes first; a JP2 file has it in a box."""
    if data[4:8] == b"jP  ":
        data = next((content for kind, content in boxes(data) if kind == b"jp2c"), b"")
    if data[:4] != b"\xff\x4f\xff\x51":
        raise ValueError("not JPEG 2000")
    right, bottom, left, top, part_wide, part_high, part_left, part_top = (_big(data, 8 + 4 * n, 4) for n in range(8))
    wide, high, samples = right - left, bottom - top, _big(data, 40, 2)
    if min(part_wide, part_high) < 1 or wide < 1 or high < 1:
        raise ValueError("no size")
    parts = -((part_left - right) // part_wide) * -((part_top - bottom) // part_high)
    return Claim(wide, high, samples, parts)


def _png(data: bytes) -> Claim:
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        raise ValueError("not PNG")
    return Claim(_big(data, 16, 4), _big(data, 20, 4), 4)


def _webp(data: bytes) -> Claim:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise ValueError("not WebP")
    at, found = 12, []
    # The first may be of the whole; what is in it has to be as large.
    while at + 8 <= len(data):
        kind, size, start = data[at : at + 4], _little(data, at + 4, 4), at + 8
        if kind == b"VP8X":
            found.append((_little(data, start + 4, 3) + 1, _little(data, start + 7, 3) + 1))
        elif kind == b"VP8L":
            bits = _little(data, start + 1, 4)
            found.append(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
        elif kind == b"VP8 ":
            found.append((_little(data, start + 6, 2) & 0x3FFF, _little(data, start + 8, 2) & 0x3FFF))
        elif kind in (b"ANIM", b"ANMF"):
            raise ValueError("it moves")
        at = start + size + size % 2
    return Claim(*max(found, key=lambda size: size[0] * size[1]), 4)


def _lerc(data: bytes) -> Claim:
    if data[:10] == b"CntZImage ":
        return Claim(_little(data, 22, 4), _little(data, 18, 4), data.count(b"CntZImage "))
    if data[:6] != b"Lerc2 ":
        raise ValueError("not LERC")
    version = _little(data, 6, 4)
    at = 14 if version >= 3 else 10
    samples = _little(data, at + 8, 4) if version >= 4 else 1
    return Claim(_little(data, at + 4, 4), _little(data, at, 4), samples * data.count(b"Lerc2 "))


def _jpeg_xr(data: bytes) -> Claim:
    """Read the size that the file states, and that of the codes in it."""
    if data[:3] != b"II\xbc":
        raise ValueError("not JPEG XR")
    first = _little(data, 4, 4)
    tags = {}
    for at in range(first + 2, first + 2 + 12 * _little(data, first, 2), 12):
        size = 2 if _little(data, at + 2, 2) == 3 else 4
        tags[_little(data, at, 2)] = _little(data, at + 8, size)
    found = [(tags.get(0xBC80, 0), tags.get(0xBC81, 0))]
    for code in re.finditer(b"WMPHOTO\0", data):
        at = code.end()
        size = 2 if data[at + 2] & 0x80 else 4
        found.append((_big(data, at + 4, size) + 1, _big(data, at + 4 + size, size) + 1))
    if len(found) < 2:
        raise ValueError("no codes")
    return Claim(*max(found, key=lambda size: size[0] * size[1]), 4)


def _big(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise ValueError("cut short")
    return int.from_bytes(data[at : at + size], "big")


def _little(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise ValueError("cut short")
    return int.from_bytes(data[at : at + size], "little")


# By the numbers of TIFF's compressions.
_READERS: dict[int, Callable[[bytes], Claim]] = {
    AVIF: avif,
    **dict.fromkeys((6, 7, 33007, 34892), _jpeg),
    **dict.fromkeys((33003, 33004, 33005, 34712), _jpeg2000),
    34933: _png,
    **dict.fromkeys((34927, 50001), _webp),
    34887: _lerc,
    **dict.fromkeys((22610, 34934), _jpeg_xr),
    **dict.fromkeys((50002, 52546), jpeg_xl),
}
