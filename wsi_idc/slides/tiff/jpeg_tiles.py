"""Pixels of slides that store 8-bit JPEG tiles (Aperio SVS, tiled TIFF), decoded straight from the file."""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from wsi_idc.base.raster import cut
from wsi_idc.slides.openslide_reader import OpenSlideReader
from wsi_idc.slides.reader import Level

# Vendors whose levels are plain grids of tiles; others of OpenSlide's TIFF vendors overlap or pad theirs.
VENDORS = ("aperio", "generic-tiff")
# How much the JPEG decoder may shrink a tile while it decodes it.
FACTORS = (2, 4, 8)
# A marker within coded pixels: 0xFF there is followed by 0, or by one of the restart markers D0 to D7.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# A hole of a disk's block. Coded pixels hold no such thing: a tile of one colour takes fewer bytes.
_HOLE = bytes(512)
# Bytes that may follow the end of a JPEG stream, to fill up a word.
_PADDING = 16
# Tiles kept, and their bytes: those along a row of chunks, of most slides.
_KEPT, _KEPT_BYTES = 500, 12_000_000


@dataclass(frozen=True, slots=True)
class _Tiles:
    """The JPEG tiles of one level: where each lies in the file, (rows, columns), and how to decode it.

    A missing tile has size 0. `tables` are the quantisation and Huffman tables that all tiles share, a JPEG stream
    without its end, or nothing.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    side: tuple[int, int]  # width, height
    tables: bytes
    is_rgb: bool


def open_jpeg_tiles(path: Path, slide: OpenSlideReader, pages: Iterable[Any]) -> JpegTileReader | None:
    """Return a reader of the JPEG tiles of a slide that OpenSlide has opened, or None where it is not of this kind.

    Of this kind is a TIFF whose every level is a page of contiguous 8-bit RGB or YCbCr JPEG tiles, none of them
    missing but on level 0: OpenSlide fills holes of Aperio's other levels from the level before. Takes over `slide`;
    `pages` are those of the file, as tifffile has them.
    """
    facts = slide.properties
    bounded = any(key.startswith("openslide.bounds-") for key in facts)
    if facts.get("openslide.vendor") not in VENDORS or bounded or not hasattr(os, "pread"):
        return None
    try:
        tiled = [page for page in pages if page.is_tiled]
        tiles = []
        for level in slide.levels:
            (page,) = (p for p in tiled if (p.imagewidth, p.imagelength) == (level.width, level.height))
            tiles.append(_tiles_of(page))
    except Exception:  # noqa: BLE001
        # A level that is not one page, or whatever an unusual file makes of the parser: OpenSlide has opened it.
        return None
    return None if any((t.sizes == 0).any() for t in tiles[1:]) else JpegTileReader(path, slide, tiles)


def _tiles_of(page: Any) -> _Tiles:
    """Return the tiles of a TIFF page; raises ValueError where they are not JPEG of 8-bit colour."""
    kind = (page.compression, page.planarconfig, page.bitspersample, page.samplesperpixel, page.imagedepth)
    if kind != (7, 1, 8, 3, 1) or page.photometric not in (2, 6):
        raise ValueError("not 8-bit JPEG tiles")
    rows, cols = -(-page.imagelength // page.tilelength), -(-page.imagewidth // page.tilewidth)
    offsets = np.array(page.dataoffsets, np.int64).reshape(rows, cols)
    sizes = np.array(page.databytecounts, np.int32).reshape(rows, cols)
    sizes[offsets == 0] = 0
    tables = page.jpegtables[:-2] if page.jpegtables else b""
    return _Tiles(offsets, sizes, (page.tilewidth, page.tilelength), tables, page.photometric == 2)


class JpegTileReader:
    """A slide of JPEG tiles that OpenSlide has opened; gives the same pixels, about four times as fast.

    Behind the levels of the file come virtual ones, which the JPEG decoder makes by shrinking while it decodes. They
    differ from averages of the level by up to 19 of 255 at 1/2, 9 at 1/4 and 4 at 1/8, by 0.15 on average (on
    CMU-1-Small-Region.svs); `slide.VIRTUAL_MARGIN` says what that does to a model.

    Neither imagecodecs nor Pillow heeds the warnings of the JPEG library, and a damaged tile would pass for tissue. A
    tile that is not a whole stream of plain baseline JPEG is left to OpenSlide, which is strict. Wrong bits that look
    like pixels remain unseen; OpenSlide sees some of them.

    Decoding holds neither lock nor GIL. Of the tiles that a rectangle ends in, the last are kept for the next one.
    """

    name = "jpeg-tiles"

    def __init__(self, path: Path, slide: OpenSlideReader, tiles: list[_Tiles]) -> None:
        """Take over `slide`; `tiles` are those of its levels, in its order."""
        self._slide, self._tiles = slide, tiles
        self.properties, self.background = slide.properties, slide.background
        self.icc = slide.icc
        self.levels = list(slide.levels)
        self._sources = [(i, 1) for i in range(len(tiles))]
        coarser = [level.downsample for level in slide.levels[1:]] + [np.inf]
        for i, level in enumerate(slide.levels):
            for factor in FACTORS:
                # Nothing that the file holds already, or nearly so.
                if level.downsample * factor > 0.9 * coarser[i] or any(side % factor for side in tiles[i].side):
                    continue
                width, height = -(-level.width // factor), -(-level.height // factor)
                self.levels.append(Level(width, height, level.downsample * factor, True, factor == 8))
                self._sources.append((i, factor))
        self._file = path.open("rb", buffering=0)
        self._kept: OrderedDict[tuple[int, int, int, int], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read a rectangle of a level; see `reader.Reader.read`."""
        out = np.empty((height, width, 3), np.uint8)
        at, (source, factor) = self.levels[level], self._sources[level]
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, at.width), min(y + height, at.height)
        if (left, top, right, bottom) != (x, y, x + width, y + height):
            # Only here: to fill pixels with a colour takes as long as to decode them.
            out[:] = self.background
        if left >= right or top >= bottom:
            return out
        tiles = self._tiles[source]
        wide, high = tiles.side[0] // factor, tiles.side[1] // factor
        inside = out[top - y : bottom - y, left - x : right - x]
        for row, col, within, at_part in cut(top, left, bottom - top, right - left, (high, wide)):
            part = inside[at_part]
            if tiles.sizes[row, col] == 0:
                part[:] = self.background
            else:
                decode = self._tile if part.shape[:2] == (high, wide) else self._kept_tile
                part[:] = decode(source, row, col, factor)[within]
        return out

    def source(self, level: int) -> int:
        """Return the level of the file that a level, maybe virtual, is decoded from."""
        return self._sources[level][0]

    def coded_bytes(self, level: int) -> np.ndarray:
        """Return how many bytes each tile of a level of the file takes, (rows, cols) int32; 0 where it is missing."""
        return self._tiles[level].sizes

    def tile_side(self, level: int) -> tuple[int, int]:
        """Return the width and height of the tiles of a level of the file, in its pixels."""
        return self._tiles[level].side

    def thumbnail(self, level: int, row: int, col: int) -> np.ndarray:
        """Decode a tile of a level of the file at 1/8, or at 1 where its sides do not allow it: (h, w, 3) uint8."""
        return self._tile(level, row, col, 1 if any(side % 8 for side in self._tiles[level].side) else 8)

    def _kept_tile(self, level: int, row: int, col: int, factor: int) -> np.ndarray:
        """Decode a tile, as `_tile` does, that is likely to be asked for again."""
        key = (level, row, col, factor)
        with self._lock:
            tile = self._kept.get(key)
            if tile is not None:
                self._kept.move_to_end(key)
                return tile
        tile = self._tile(*key)
        with self._lock:
            self._kept[key] = tile
            while len(self._kept) > max(4, min(_KEPT, _KEPT_BYTES // tile.nbytes)):
                self._kept.popitem(last=False)
        return tile

    def _tile(self, level: int, row: int, col: int, factor: int) -> np.ndarray:
        """Decode a tile of a level of the file at 1/factor of its size, (height, width, 3) uint8."""
        tiles, size = self._tiles[level], self.levels[level]
        wide, high = tiles.side
        x, y = col * wide, row * high
        inside = min(wide, size.width - x), min(high, size.height - y)
        shrink = inside[0] % factor == 0 and inside[1] % factor == 0
        tile = None
        try:
            data = os.pread(self._file.fileno(), int(tiles.sizes[row, col]), int(tiles.offsets[row, col]))
            if _is_sound(data, tiles.side):
                tile = _decode(tiles, data, factor if shrink else 1)
        except Exception:  # noqa: BLE001
            # Each codec has errors of its own; OpenSlide gives the reason, below.
            tile = None
        if tile is None:
            tile = self._slide.read(level, x, y, wide, high)
        elif shrink:
            return tile
        # A virtual pixel on the border of the slide is part slide, part background, not what the tile is padded with.
        tile = np.array(tile)
        tile[inside[1] :], tile[:, inside[0] :] = self.background, self.background
        blocks = tile.reshape(high // factor, factor, wide // factor, factor, 3)
        return np.rint(blocks.mean((1, 3), dtype=np.float32)).astype(np.uint8)

    def close(self) -> None:
        """Give the file back."""
        self._slide.close()
        self._file.close()


def _is_sound(data: bytes, side: tuple[int, int]) -> bool:
    """Say whether a tile is a whole stream of baseline JPEG, in one scan, of three components of the stated size.

    Size and components must be checked: Pillow's decoder trusts its caller.
    """
    at, fits = 2, False
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        if data[at + 1] in (0xC0, 0xC1):
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            fits = (width, height, data[at + 9]) == (*side, 3)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    end = _MARKER.search(data, at + 2)
    at_end = end is not None and end[0] == b"\xff\xd9" and len(data) - end.end() <= _PADDING
    return fits and data[at] == 0xFF and at_end and _HOLE not in data


def _decode(tiles: _Tiles, data: bytes, factor: int) -> np.ndarray:
    """Decode a tile to RGB at 1/factor of its size; what its colours are, the TIFF says and the stream does not."""
    if factor == 1:
        colours, tables = "RGB" if tiles.is_rgb else "YCBCR", tiles.tables + b"\xff\xd9" if tiles.tables else None
        return imagecodecs.jpeg8_decode(data, tables=tables, colorspace=colours, outcolorspace="RGB")
    # imagecodecs does not offer the scaling of the JPEG library, Pillow does: raw mode, colours, scale, draft.
    size, stream = (tiles.side[0] // factor, tiles.side[1] // factor), tiles.tables + data[2:] if tiles.tables else data
    colours = "RGB" if tiles.is_rgb else "YCbCr"
    return np.asarray(Image.frombytes("RGB", size, stream, "jpeg", ("RGB", colours, factor, 0)))
