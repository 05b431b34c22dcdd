"""Pixels of one page of a TIFF: its tiles or strips, decoded one by one by tifffile's codecs."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from wsi_idc.base.raster import cut
from wsi_idc.errors import SlideError
from wsi_idc.slides.kept import KeptTiles
from wsi_idc.slides.tiff.claims import check_claim
from wsi_idc.slides.tiff.codecs import decoder

_JPEG = (6, 7, 33007)
_JPEG2000 = (33003, 33004, 33005, 34712)
# Codecs that give RGB whatever colours they store.
_GIVE_RGB = (*_JPEG, 34892, 50001, 34927, 50002, 52546, 60001)
# Rows of what YCbCr is, full range, as JPEG has it.
_TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)


class PagePixels:
    """The pixels of a page of 8-bit RGB, RGBA, or one plane of three. Safe to use from several threads.

    What is transparent or missing is white.
    """

    def __init__(self, page: Any, reading: threading.Lock) -> None:
        """Take a page of an open `tifffile.TiffFile`, whose pages all have the same lock `reading`.

        Raises SlideError where its colours are not RGB.
        """
        # That of tifffile's own file locks nothing unless tifffile itself reads in threads.
        self._page, self._reading = page, reading
        self.width, self.height = page.imagewidth, page.imagelength
        self.samples = page.samplesperpixel
        self._separate = page.planarconfig == 2 and self.samples > 1
        self._ycbcr = page.photometric == 6 and page.compression not in _GIVE_RGB
        if self._ycbcr and page.compression not in _JPEG2000:
            raise SlideError("its YCbCr colours are not stored as JPEG: it is not 8-bit RGB; export the slide as such")
        if page.is_tiled:
            self._side = (page.tilelength, page.tilewidth)
        else:
            self._side = (min(self.height, page.rowsperstrip or self.height), self.width)
        self._columns = -(-self.width // self._side[1])
        self._rows = -(-self.height // self._side[0])
        self._offsets, self._sizes = page.dataoffsets, page.databytecounts
        self._tables = page.jpegtables
        self._kept = KeptTiles()
        # Made here: tifffile makes it on the first use, and that in one thread only.
        self._decode, self._codec = decoder(page, self._first())

    def _first(self) -> bytes:
        """Return the beginning of the codes of the first tile that is there."""
        place = next((o for o, size in zip(self._offsets, self._sizes, strict=False) if o and size), None)
        if place is None:
            return b""
        return self._bytes_at(place, 32)

    def _bytes_at(self, place: int, size: int) -> bytes:
        handle = self._page.parent.filehandle
        with self._reading:
            handle.seek(place)
            return bytes(handle.read(size))

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read a rectangle within the page: (height, width, 3) uint8, or (height, width) of a single plane."""
        out = np.empty((height, width) if self.samples == 1 else (height, width, 3), np.uint8)
        for row, column, within, part in cut(y, x, height, width, self._side):
            out[part] = self._tile(row, column)[within]
        return out

    def _tile(self, row: int, column: int) -> np.ndarray:
        size = self._side[0] * self._side[1] * self.samples
        return self._kept.get((row, column), size, lambda: self._fresh(row, column))

    def _fresh(self, row: int, column: int) -> np.ndarray:
        """Decode a tile or strip whole, as large as all are but for the last strip."""
        index = row * self._columns + column
        if not self._separate:
            return self._to_rgb(self._segment(index))
        step = self._rows * self._columns
        return self._to_rgb(np.concatenate([self._segment(index + step * s) for s in range(self.samples)], -1))

    def _segment(self, index: int) -> np.ndarray:
        """Decode what lies at one place of the table: (height, width, samples) uint8; white where it is missing."""
        offset, size = self._offsets[index], self._sizes[index]
        samples = 1 if self._separate else self.samples
        full = np.full((*self._side, samples), 255, np.uint8)
        if not size or not offset:
            return full
        data = self._bytes_at(offset, size)
        if len(data) < size:
            raise ValueError("the file ends before it")
        check_claim(self._codec, data, self._side[0] * self._side[1])
        decoded, _, _ = self._decode(data, index, jpegtables=self._tables)
        if decoded is None:
            return full
        pixels = np.asarray(decoded).reshape(decoded.shape[-3:])
        if pixels.dtype != np.uint8 or pixels.shape[2] < samples:
            raise ValueError(f"its codes hold {pixels.shape[2]} samples of {pixels.dtype}")
        if self._ycbcr or (self._page.compression == 33003 and _is_ycbcr(self._page, data)):
            pixels = _from_ycbcr(pixels)
        # The decoder leaves off what tiles have beyond the page.
        full[: pixels.shape[0], : pixels.shape[1]] = pixels[: self._side[0], : self._side[1], :samples]
        return full

    def _to_rgb(self, tile: np.ndarray) -> np.ndarray:
        """Return (h, w, 3), transparent pixels made white, or the single plane (h, w)."""
        if self.samples == 1:
            return tile[..., 0]
        extra = self._page.extrasamples
        if self.samples < 4 or not extra or int(extra[0]) not in (1, 2):
            return np.ascontiguousarray(tile[..., :3])
        alpha = tile[..., 3:4].astype(np.float32) / 255
        colour = tile[..., :3] if int(extra[0]) == 1 else tile[..., :3] * alpha
        return np.rint(colour + 255 * (1 - alpha)).clip(0, 255).astype(np.uint8)


def _is_ycbcr(page: Any, data: bytes) -> bool:
    """Say whether codes of Aperio's JPEG 2000 are YCbCr: those whose stream transforms no colours.

    Aperio's own are; those that Bio-Formats writes under the same number hold RGB, transformed within the stream.
    """
    at = data.find(b"\xff\x52")
    transformed = at >= 0 and data[at + 8 : at + 9] == b"\x01"
    return not transformed and (page.photometric == 6 or page.parent.pages.first.description.startswith("Aperio"))


def _from_ycbcr(pixels: np.ndarray) -> np.ndarray:
    centred = pixels[..., :3].astype(np.float32) - np.array([0, 128, 128], np.float32)
    return np.rint(centred @ _TO_RGB.T).clip(0, 255).astype(np.uint8)
