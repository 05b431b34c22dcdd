"""Whether a level shows what level 0 shows: sizes and scales may agree of another picture, or of one that is turned."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from wsi_idc.base.raster import average
from wsi_idc.errors import SlideError
from wsi_idc.slides.reader import Reader

# Places looked at, a side of the slide, and cells a side of each. An even number: of an odd one the places in the
# middle stay where they are when a picture is turned.
_PLACES, _CELLS = 4, 4
# Pixels of the level that a place has a side. In a level with fewer places side by side, what is rounded in its
# downsample, and where a pixel begins, shifts cells by a part of their own size: of such a level nothing is known.
_SIDE, _SIDE_BY_SIDE = 32, 3
# How much coarser a level may be than the one by which it is judged, where there is a choice.
_NEAR = 10
# A level shows something else where it is this far off, in grey values on average, and by this share of what the other
# one itself varies. Levels of a painted and of a real section, made by any kernel or none, as JPEG 20 or at gamma 0.9,
# are at most 0.10 off; turned, mirrored or 10 % too large ones 0.38 to 1.06.
_APART, _SHARE = 5.0, 0.25


class Likeness:
    """Which levels of the file show what level 0 shows; each is looked at when it is first asked for.

    `warnings` has a plain sentence on each that does not. Safe to use from several threads.
    """

    def __init__(self, reader: Reader, corner: tuple[int, int], size: tuple[int, int]) -> None:
        """Take the levels of a reader, and where in level 0 the slide lies: its corner and size (x, y) in pixels."""
        self._reader, self._corner, self._size = reader, corner, size
        self._known = {0: True}
        self._lock = threading.Lock()
        self.warnings: tuple[str, ...] = ()

    def holds(self, level: int) -> bool:
        """Say whether a level, not a virtual one, is a smaller copy of level 0."""
        with self._lock:
            return self._holds(level)

    def _holds(self, level: int) -> bool:
        if level not in self._known:
            self._known[level] = self._is_like(level, self._finer(level))
            if not self._known[level]:
                other = self._reader.levels[level]
                self.warnings += (
                    f"the smaller copy of {other.width} x {other.height} px in the file shows something else than "
                    "the slide; it was not used",
                )
        return self._known[level]

    def _finer(self, level: int) -> int:
        """Return a finer level that holds, by which one is judged: the finest that is near enough, else the nearest.

        So few levels have to be looked at, and little of each is decoded.
        """
        downsamples = [v.downsample for v in self._reader.levels]
        finer = [i for i, v in enumerate(self._reader.levels) if not v.virtual and v.downsample < downsamples[level]]
        finer.sort(key=downsamples.__getitem__)
        near = [i for i in finer if downsamples[level] <= _NEAR * downsamples[i]]
        return next(i for i in (*near, *reversed(finer), 0) if self._holds(i))

    def _is_like(self, level: int, finer: int) -> bool:
        """Compare a level with a finer one by cells of some places. What cannot be decoded tells nothing."""
        ours, theirs = self._reader.levels[level], self._reader.levels[finer]
        if min(ours.width, ours.height) < _SIDE * _SIDE_BY_SIDE:
            return True
        ratio = ours.downsample / theirs.downsample
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for row, column in np.ndindex(_PLACES, _PLACES):
            middle = [
                (o + n * (k + 0.5) / _PLACES) / ours.downsample
                for o, n, k in zip(self._corner, self._size, (column, row), strict=True)
            ]
            at = [max(0, int(m - _SIDE / 2)) for m in middle]
            try:
                whole = self._cells(finer, [a * ratio for a in at], _SIDE * ratio)
                found.append((self._cells(level, at, _SIDE), whole))
            except SlideError:
                continue
        if not found:
            return True
        cells, whole = (np.stack(each).reshape(-1, 3) for each in zip(*found, strict=True))
        varies = float(np.abs(whole - np.median(whole, axis=0)).mean())
        return float(np.abs(cells - whole).mean()) <= max(_APART, _SHARE * varies)

    def _cells(self, level: int, at: Sequence[float], side: float) -> np.ndarray:
        """Return the mean colours of the cells of a square from (x, y) of a level: (rows, columns, 3) float32."""
        left, top = (int(v) for v in at)
        whole = int(np.ceil(side)) + 1
        block = self._reader.read(level, left, top, whole, whole)
        start, scale = (at[0] - left, at[1] - top), (side / _CELLS, side / _CELLS)
        return average(block, start, scale, (_CELLS, _CELLS), self._reader.background).astype(np.float32)
