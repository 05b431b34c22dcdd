"""CZI files, written for the tests byte by byte: tiles of BGR at their places, and smaller copies of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np

_ALIGNED = 32
_BGR24, _ZSTD = 3, 5
_METADATA = """<?xml version="1.0"?><ImageDocument><Metadata><Information><Image><PixelType>Bgr24</PixelType>
<SizeX>{width}</SizeX><SizeY>{height}</SizeY></Image></Information>{scaling}</Metadata></ImageDocument>"""
_SCALING = """<Scaling><Items><Distance Id="X"><Value>{mpp}E-6</Value></Distance>
<Distance Id="Y"><Value>{mpp}E-6</Value></Distance></Items></Scaling>"""


@dataclass
class Tile:
    """Pixels (h, w, 3) uint8 RGB at a place in pixels of the finest level; `by` of a smaller copy is 2, 4, ..."""

    pixels: np.ndarray
    x: int = 0
    y: int = 0
    z: int = 0
    scene: int = 0
    by: int = 1

    def entry(self, position: int) -> bytes:
        """What a directory says of it."""
        h, w = self.pixels.shape[:2]
        places = [("X", self.x, w * self.by, w), ("Y", self.y, h * self.by, h), ("Z", self.z, 1, 1)]
        places += [("S", self.scene, 1, 1), ("C", 0, 1, 1), ("T", 0, 1, 1)]
        pyramid = 0 if self.by == 1 else 2
        head = struct.pack("<2siqiiB5xi", b"DV", _BGR24, position, 0, _ZSTD, pyramid, len(places))
        return head + b"".join(struct.pack("<4siifi", n.encode(), at, size, at, kept) for n, at, size, kept in places)


def _segment(name: str, data: bytes) -> bytes:
    data += b"\0" * (-len(data) % _ALIGNED)
    return struct.pack("<16sqq", name.encode(), len(data), len(data)) + data


def write_czi(path: Path, tiles: Sequence[Tile], mpp: float | None = 0.5, damaged: Sequence[int] = ()) -> Path:
    """Write tiles as a CZI of `mpp` um, None for none stated; the codes of those of number `damaged` are no codes."""
    parts, size = [_segment("ZISRAWFILE", b"\0" * 512)], 544
    entries = []
    for number, tile in enumerate(tiles):
        codes = imagecodecs.zstd_encode(np.ascontiguousarray(tile.pixels[..., ::-1]).tobytes())
        if number in damaged:
            codes = bytes(255 - byte for byte in codes)
        entry = tile.entry(size)
        head = (struct.pack("<iiq", 0, 0, len(codes)) + entry).ljust(256, b"\0")
        entries.append(entry)
        parts.append(_segment("ZISRAWSUBBLOCK", head + codes))
        size += len(parts[-1])
    directory = size
    parts.append(_segment("ZISRAWDIRECTORY", struct.pack("<i124x", len(entries)) + b"".join(entries)))
    size += len(parts[-1])
    width, height = (max(t.pixels.shape[a] * t.by + (t.y, t.x)[a] for t in tiles) for a in (1, 0))
    scaling = _SCALING.format(mpp=mpp) if mpp else ""
    xml = _METADATA.format(width=width, height=height, scaling=scaling).encode()
    parts.append(_segment("ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml))
    header = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, b"a" * 16, b"a" * 16, 0, directory, size, 0, 0)
    parts[0] = _segment("ZISRAWFILE", header.ljust(512, b"\0"))
    path.write_bytes(b"".join(parts))
    return path
