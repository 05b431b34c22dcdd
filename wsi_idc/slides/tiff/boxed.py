"""The size that pictures in boxes (ISO 14496-12) state within their codes: JPEG XL (ISO 18181) and AVIF (AV1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# Boxes of AVIF in which there are others, with the bytes before these.
_HOLDING = {b"meta": 4, b"iprp": 0, b"ipco": 0}
_DEEPEST = 4
# Bytes that an item of AVIF may have within the description: that of a grid, and no codes.
_WITHIN = 64
_SEQUENCE = 1
# Of JPEG XL: by which a width is told from a height.
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIDES = ((9, 1), (13, 1), (18, 1), (30, 1))


class Claim(NamedTuple):
    """Width, height and samples that codes state, and the tiles within them."""

    width: int
    height: int
    samples: int
    parts: int = 1


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the boxes of a file: kind and content. Raises ValueError where one is cut."""
    at = 0
    while at + 8 <= len(data):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        size = size or len(data) - at
        if size < head or at + size > len(data):
            raise ValueError("a box that is cut")
        yield kind, data[at + head : at + size]
        at += size


class _Bits:
    """The bits of codes, one after another; those of AV1 the highest first, those of JPEG XL the lowest."""

    def __init__(self, data: bytes, highest_first: bool) -> None:
        self._data, self._highest_first, self._at = data, highest_first, 0

    def take(self, count: int) -> int:
        """Take a number of so many bits; raises ValueError where there are no more."""
        if self._at + count > 8 * len(self._data):
            raise ValueError("cut short")
        value = 0
        for place in range(self._at, self._at + count):
            byte, bit = self._data[place // 8], place % 8
            if self._highest_first:
                value = value << 1 | (byte >> (7 - bit) & 1)
            else:
                value |= (byte >> bit & 1) << (place - self._at)
        self._at += count
        return value

    def choose(self, ways: tuple[tuple[int, int], ...]) -> int:
        """Take a number in one of four ways, each so many bits and what is added to them."""
        bits, added = ways[self.take(2)]
        return self.take(bits) + added


def jpeg_xl(data: bytes) -> Claim:
    """Read the header of the codes, bare or in boxes; raises ValueError where it is none, or of what moves."""
    if data[4:8] == b"JXL ":
        found = ((kind, content) for kind, content in boxes(data) if kind in (b"jxlc", b"jxlp"))
        kind, content = next(found, (b"", b""))
        # Parts are numbered.
        data = content[4:] if kind == b"jxlp" else content
    if data[:2] != b"\xff\x0a":
        raise ValueError("not JPEG XL")
    bits = _Bits(data[2:66], highest_first=False)
    wide, high = _size(bits)
    extra = 0
    # Unless all is as it mostly is.
    if not bits.take(1):
        if bits.take(1):
            bits.take(3)
            if bits.take(1):
                _size(bits)
            if bits.take(1) or bits.take(1):
                raise ValueError("it moves, or has a preview")
        if bits.take(1):
            bits.choose(((0, 32), (0, 16), (0, 24), (6, 1)))
            bits.take(4)
        else:
            bits.choose(((0, 8), (0, 10), (0, 12), (6, 1)))
        bits.take(1)
        extra = bits.choose(((0, 0), (0, 1), (4, 2), (12, 1)))
    return Claim(wide, high, 3 + extra)


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.choose(_SIDES)

    high = side()
    ratio = bits.take(3)
    return (high * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1] if ratio else side()), high


def avif(data: bytes) -> Claim:
    """Read the sizes that a file of AVIF states, and those of the codes in it; raises ValueError where it has none.

    The decoder heeds the codes, whatever the file says.
    """
    stated: list[tuple[int, int]] = []
    coded: list[tuple[int, int]] = []
    for kind, content in _inner(data, 0):
        if kind == b"ispe":
            stated.append((int.from_bytes(content[4:8], "big"), int.from_bytes(content[8:12], "big")))
        elif kind == b"av1C":
            coded += _sequences(content[4:])
        elif kind == b"iloc":
            for item in _items(content, data):
                coded += _sequences(item)
        elif kind == b"moov":
            raise ValueError("it moves")
    if not (stated and coded):
        raise ValueError("no codes")
    wide, high = max(stated + coded, key=lambda size: size[0] * size[1])
    return Claim(wide, high, 4)


def _inner(data: bytes, depth: int) -> Iterator[tuple[bytes, bytes]]:
    for kind, content in boxes(data):
        yield kind, content
        if kind in _HOLDING and depth < _DEEPEST:
            yield from _inner(content[_HOLDING[kind] :], depth + 1)


def _items(content: bytes, data: bytes) -> Iterator[bytes]:
    """Give what the table of items says that lies in the file, each item whole."""
    bits = _Bits(content, highest_first=True)
    version = bits.take(8)
    bits.take(24)
    of_offset, of_length, of_base, of_index = (8 * bits.take(4) for _ in range(4))
    wide = 16 if version < 2 else 32
    for _ in range(bits.take(wide)):
        bits.take(wide)
        within = version in (1, 2) and bits.take(16) & 0xF
        bits.take(16)
        base, item = bits.take(of_base), b""
        for _ in range(bits.take(16)):
            if version in (1, 2):
                bits.take(of_index)
            at, size = base + bits.take(of_offset), bits.take(of_length)
            if within and size > _WITHIN:
                raise ValueError("codes within its description")
            item += b"" if within else data[at : at + size]
        yield item


def _sequences(data: bytes) -> Iterator[tuple[int, int]]:
    """Give the largest size of frames that each header of a sequence in codes of AV1 states; none of what is none."""
    at = 0
    while at < len(data):
        kind, extended, sized = data[at] >> 3 & 0xF, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        size, shift = (0, 0) if sized else (len(data) - at, 0)
        while sized and at < len(data):
            byte = data[at]
            size |= (byte & 0x7F) << shift
            at, shift, sized = at + 1, shift + 7, byte >> 7
        if kind == _SEQUENCE:
            yield _frame(_Bits(data[at : at + size], highest_first=True))
        at += size


def _frame(bits: _Bits) -> tuple[int, int]:
    bits.take(4)
    if bits.take(1):
        bits.take(5)
    else:
        if bits.take(1):
            raise ValueError("it moves")
        delayed = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if delayed and bits.take(1):
                bits.take(4)
    sides = bits.take(4) + 1, bits.take(4) + 1
    wide, high = (bits.take(count) + 1 for count in sides)
    return wide, high
