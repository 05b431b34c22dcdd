"""The pixels of one level of an OME-Zarr image, read chunk by chunk, and which of its chunks are there."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.base.raster import cut
from wsi_idc.slides.kept import KeptTiles
from wsi_idc.slides.ngff.store import check_described

# Values of a chunk that a decoder is given; 32 focal planes of RGB in chunks of 1024 x 1024 are less.
_LARGEST_CHUNK = 1 << 28
# What packing adds to a chunk at most, as a share and in bytes, with the index of a shard.
_PACKED, _MORE = 2, 1 << 20
# Chunks of a level: of 64 x 64 px that is 270,000 px a side.
_MOST_CHUNKS = 1 << 24
# Side of what is read at once, in pixels, where chunks are smaller: to ask for one takes a millisecond.
_SIDE = 512
_KEY = re.compile(r"(?:c[/.])?(\d+(?:[/.]\d+)*)")
_MISSING = 255


class Plane:
    """Red, green and blue of one level, at one depth and time. Safe to use from several threads.

    `shape` has the size along each axis by its letter. Pixels of chunks that are not in the store are white.
    """

    def __init__(self, folder: Path, axes: tuple[str, ...], zarr_format: int) -> None:
        """Open the array in `folder`; raises ValueError, OSError and whatever Zarr makes of one that is damaged."""
        import zarr

        from wsi_idc.slides.ngff.chunk_files import ChunkFiles
        from wsi_idc.slides.ngff.unpacked import bounded

        files = ChunkFiles(folder, check_described(folder))
        array = zarr.open_array(files, mode="r", zarr_format=3 if zarr_format == 3 else 2)
        if len(array.shape) != len(axes) or min(array.shape) < 1:
            raise ValueError(f"it has the shape {array.shape} for the axes {', '.join(axes)}")
        self.folder, self.axes, self.dtype = folder, axes, array.dtype
        self.shape: Mapping[str, int] = dict(zip(axes, array.shape, strict=True))
        # What is one file: a chunk, or a shard of many.
        self._stored = dict(zip(axes, array.shards or array.chunks, strict=True))
        self._chunks = dict(zip(axes, array.chunks, strict=True))
        if math.prod(array.chunks) > _LARGEST_CHUNK or self._grid[0] * self._grid[1] > _MOST_CHUNKS:
            raise ValueError(
                f"it claims {self.width} x {self.height} px in chunks of {' x '.join(map(str, array.chunks))}, more "
                "than can be decoded; the header is damaged, or convert the slide with chunks of at most 4096 px"
            )
        files.most = _PACKED * math.prod(self._stored.values()) * array.dtype.itemsize + _MORE
        array = bounded(array)
        self._metadata = array.metadata
        # What is missing is whatever fill value is set: where the two differ, nothing is there.
        self._black, self._white = (_filled(array, value) for value in (0, _MISSING))
        self._place: dict[str, int | slice] = {axis: 0 for axis in axes if axis not in "xyc"}
        if "z" in axes:
            self._place["z"] = self.shape["z"] // 2
        self._order, self._kept = (0, 1, 2), KeptTiles()

    @property
    def width(self) -> int:
        """Its width in pixels."""
        return self.shape["x"]

    @property
    def height(self) -> int:
        """Its height in pixels."""
        return self.shape["y"]

    @property
    def tile(self) -> tuple[int, int]:
        """Width and height of its chunks in pixels."""
        return self._chunks["x"], self._chunks["y"]

    @property
    def _grid(self) -> tuple[int, int]:
        return -(-self.height // self._stored["y"]), -(-self.width // self._stored["x"])

    def take_colours(self, order: tuple[int, int, int]) -> None:
        """Say where red, green and blue lie among the three channels."""
        self._order = order

    def missing(self) -> np.ndarray:
        """Look which chunks, or shards of them, are not in the store, for one of the colours: (rows, columns) bool."""
        depth = {axis: int(at) // self._stored[axis] for axis, at in self._place.items() if isinstance(at, int)}
        channels = -(-self.shape.get("c", 1) // self._stored.get("c", 1))
        there = np.zeros((*self._grid, channels), bool)
        for place, _, files in os.walk(self.folder):
            below = os.path.relpath(place, self.folder).replace(os.sep, "/")
            for name in files:
                key = name if below == "." else f"{below}/{name}"
                found = _KEY.fullmatch(key)
                numbers = tuple(int(n) for n in re.split("[/.]", found[1])) if found else ()
                # As another separator has it, Zarr would not find it.
                if len(numbers) != len(self.axes) or self._metadata.encode_chunk_key(numbers) != key:
                    continue
                at = dict(zip(self.axes, numbers, strict=True))
                where = (at["y"], at["x"], at.get("c", 0))
                if all(at[axis] == n for axis, n in depth.items()) and all(
                    n < size for n, size in zip(where, there.shape, strict=True)
                ):
                    there[where] = True
        return np.logical_not(there.all(2))

    def lacks(self, missing: np.ndarray, finest: Plane, of_finest: np.ndarray) -> bool:
        """Say whether a chunk that is missing here is one of which the finest level has a part.

        `missing` and `of_finest` say which chunks are missing here and there. A chunk that no pixel was scanned of may
        be left out at all levels.
        """
        scale = finest.height / self.height, finest.width / self.width
        for row, column in np.argwhere(missing).tolist():
            rows = _covered(row, self._stored["y"] * scale[0], finest._stored["y"], of_finest.shape[0])
            columns = _covered(column, self._stored["x"] * scale[1], finest._stored["x"], of_finest.shape[1])
            if not of_finest[rows, columns].all():
                return True
        return False

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read a rectangle within the level: (height, width, 3) uint8 RGB; raises whatever Zarr and its codecs do."""
        out = np.empty((height, width, 3), np.uint8)
        high, wide = (side * max(1, _SIDE // side) for side in (self._chunks["y"], self._chunks["x"]))
        for row, column, within, part in cut(y, x, height, width, (high, wide)):
            box = (slice(row * high, (row + 1) * high), slice(column * wide, (column + 1) * wide))
            tile = self._kept.get((row, column), high * wide * 3, lambda box=box: self._decoded(*box))  # type: ignore[misc]
            out[part] = tile[within]
        return out

    def _decoded(self, rows: slice, columns: slice) -> np.ndarray:
        place = self._place | {"y": rows, "x": columns, "c": slice(None)}
        selection = tuple(place[axis] for axis in self.axes)
        left = [axis for axis in self.axes if axis in "yxc"]
        turned = [left.index(axis) for axis in "yxc"]
        pixels = np.asarray(self._black[selection]).transpose(turned)
        if (pixels == 0).any():
            other = np.asarray(self._white[selection]).transpose(turned)
            pixels = np.where((pixels != other).any(2, keepdims=True), np.uint8(_MISSING), pixels)
        return np.ascontiguousarray(pixels[..., list(self._order)])


def _filled(array: Any, value: int) -> Any:
    """Return an array of Zarr that gives `value` for what is not in its store."""
    import zarr

    # Of 8 bits only are pixels read; of others only shape and type are looked at.
    if array.dtype != np.uint8:
        return array
    asynchronous = array.async_array
    return zarr.Array(type(asynchronous)(replace(array.metadata, fill_value=np.uint8(value)), asynchronous.store_path))


def _covered(number: int, side: float, finest: int, count: int) -> slice:
    """Return the chunks of the finest level that lie within one of `side` of its pixels, or, without any, touch it."""
    low, high = math.ceil(number * side / finest - 0.01), math.floor((number + 1) * side / finest + 0.01)
    if high <= low:
        low, high = math.floor(number * side / finest), math.ceil((number + 1) * side / finest)
    return slice(min(low, count - 1), min(high, count))
