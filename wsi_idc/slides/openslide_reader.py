"""Slides that OpenSlide reads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.base.raster import cut
from wsi_idc.errors import SlideError
from wsi_idc.slides.reader import Level

# Side of the tiles, in pixels of a level, that a level with a fractional downsample is read by.
_TILE = 512
# Bytes of decoded tiles that OpenSlide keeps: half of what it would, and as fast where neighbours are read in turn.
_CACHE = 1 << 24

_UNREADABLE = b"no profile"


class OpenSlideReader:
    """A slide that OpenSlide reads."""

    name = "openslide"

    def __init__(self, path: Path) -> None:
        """Open `path`; raises `openslide.OpenSlideError` where OpenSlide declines it."""
        import openslide

        self._path, self._lock = path, threading.Lock()
        self._cache = openslide.OpenSlideCache(_CACHE)
        self._slide = self._open()
        self.properties = dict(self._slide.properties)
        self.levels = [
            Level(w, h, d)
            for (w, h), d in zip(self._slide.level_dimensions, self._slide.level_downsamples, strict=True)
        ]
        # Of each level its place in the file, and the downsample that OpenSlide takes for its own.
        self._stored = [(i, level.downsample) for i, level in enumerate(self.levels)]
        colour = self.properties.get("openslide.background-color", "ffffff")
        self.background = (int(colour[0:2], 16), int(colour[2:4], 16), int(colour[4:6], 16))

    @property
    def icc(self) -> bytes | None:
        """The colour profile of the file, or None."""
        from PIL import ImageCms

        try:
            profile = self._slide.color_profile
        except (ImageCms.PyCMSError, OSError):
            # There is one, but LittleCMS cannot read it.
            return _UNREADABLE
        return profile.tobytes() if profile is not None else None

    def correct(self, downsamples: Mapping[tuple[int, int], float]) -> None:
        """Keep of the levels those with a downsample by size (width, height), which counts, and level 0.

        OpenSlide takes any smaller tiled image for a level, and its downsample from sizes, also where these are padded.
        """
        kept = [i for i, v in enumerate(self.levels) if i == 0 or (v.width, v.height) in downsamples]
        self._stored = [self._stored[i] for i in kept]
        levels = [self.levels[i] for i in kept]
        found = [1.0, *(downsamples[v.width, v.height] for v in levels[1:])]
        self.levels = [Level(v.width, v.height, d) for v, d in zip(levels, found, strict=True)]

    def _open(self) -> Any:
        import openslide

        slide = openslide.OpenSlide(self._path)
        slide.set_cache(self._cache)
        return slide

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read a rectangle of a level; see `Reader.read`."""
        downsample = self._stored[level][1]
        if downsample == int(downsample):
            return self._read(level, (x * int(downsample), y * int(downsample)), (width, height))
        # Between two pixels of level 0 OpenSlide interpolates, so that what it reads depends on where a read begins.
        # On fixed tiles it does not: each tile is less than a pixel of level 0 off, and the same for every caller.
        out = np.empty((height, width, 3), np.uint8)
        for row, col, within, part in cut(y, x, height, width, (_TILE, _TILE)):
            at = (int(col * _TILE * downsample), int(row * _TILE * downsample))
            # From the corner of the tile, whatever part of it is asked for.
            out[part] = self._read(level, at, (within[1].stop, within[0].stop))[within]
        return out

    def _read(self, level: int, location: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """Read a rectangle of a level at a location in pixels of level 0."""
        import openslide

        stored = self._stored[level][0]
        try:
            image = self._slide.read_region(location, stored, size)
        except openslide.OpenSlideError:
            # One undecodable tile puts the whole handle into an error state, for every thread: read again on a
            # fresh one, which then serves the others, so that only what is really damaged fails.
            try:
                with self._lock:
                    self._slide, fresh = self._open(), self._open()
            except (openslide.OpenSlideError, OSError) as error:
                raise SlideError(f"{self._path}: the file cannot be read any more ({error})") from error
            try:
                image = fresh.read_region(location, stored, size)
            except openslide.OpenSlideError as error:
                raise SlideError(
                    f"{self._path}: level {level} at x={location[0]}, y={location[1]} cannot be decoded ({error})"
                ) from error
            finally:
                fresh.close()
        rgba = np.asarray(image)
        alpha = rgba[..., 3:]
        if alpha.min() == 255:
            return rgba[..., :3]
        blend = alpha.astype(np.float32) / 255
        mixed = rgba[..., :3] * blend + np.array(self.background, np.float32) * (1 - blend)
        return np.rint(mixed).astype(np.uint8)

    def close(self) -> None:
        """Give the file back."""
        self._slide.close()
