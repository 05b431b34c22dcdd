"""Slides that the extra fastslide reads: Olympus VSI, Philips iSyntax, and Zeiss CZI that OpenSlide declines.

The library says nothing of tiles that it cannot decode, which come out white, and of some of them never comes back.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from wsi_idc.base.extras import missing
from wsi_idc.errors import SlideError
from wsi_idc.slides.content import companion
from wsi_idc.slides.levels.pyramid import Shape, downsample_of
from wsi_idc.slides.reader import WHITE, Level, read_within
from wsi_idc.slides.tiff.images import StoredImage, StoredLevel, note_of
from wsi_idc.slides.tiff.pages import Page, kind_of

# Longer than any read takes: 2048 x 2048 px from a slow disk.
_LONGEST_S = 300.0
# Bytes of decoded tiles that fastslide keeps.
_CACHE = 1 << 25
# Side of what is looked at for being white, in pixels at least, and how dark a smaller copy is there where it is none.
_CELL, _DARKER = 32, 245

Found = TypeVar("Found")


class FastSlideFile:
    """An open file, and the images that it holds."""

    def __init__(self, path: Path) -> None:
        """Open `path`; raises SlideError where it cannot be read, and where the extra is not installed."""
        try:
            from fastslide import FastSlide
        except ImportError as error:
            raise SlideError(f"{path}: {missing(error, 'fastslide')}") from error
        if path.suffix.lower() == ".vsi" and not companion(path).is_dir():
            raise SlideError(f"{path}: its pixels are in the folder {companion(path).name} beside it, which is missing")
        self.path = path
        try:
            self.slide = _in_time(lambda: FastSlide.from_file_path(str(path), cache=_CACHE))
            self.views = [self.slide.images[i] for i in range(self.slide.num_images)]
            # What is read of one pixel tells whether it is RGB.
            tried = [_in_time(lambda v=view: v.read_region((0, 0), 0, (1, 1))) for view in self.views]  # type: ignore[misc]
        except Exception as error:
            # RuntimeError, ValueError and what nanobind makes of others.
            raise SlideError(f"{path}: fastslide cannot open it ({_reason(error)}); is the file whole?") from error
        self.images = [self._stored(n, view, one) for n, (view, one) in enumerate(zip(self.views, tried, strict=True))]

    def _stored(self, number: int, view: Any, tried: Any) -> StoredImage:
        """Describe an image as other readers describe theirs, so that the same rules choose among images."""
        # 0 is how fastslide says that it does not know.
        mpp = tuple(view.mpp) if min(view.mpp) > 0 else None
        form = tried.format.name
        value = np.dtype(tried.dtype)
        levels = []
        full = Shape(*view.dimensions)
        for i, (width, height) in enumerate(view.level_dimensions):
            downsample = 1.0 if i == 0 else downsample_of(Shape(width, height), full)
            if downsample is not None and (i == 0 or downsample > 1):
                page = Page.of_other(
                    (number, i),
                    Shape(width, height, mpp=mpp if i == 0 else None),
                    samples=view.num_channels,
                    bits=8 * value.itemsize,
                    colours=form if form == "RGB" else f"separate channels, not RGB ({form.lower()})",
                    signed=value.kind != "u",
                )
                levels.append(StoredLevel((page,), downsample))
        name = str(view.name)
        return StoredImage(
            tuple(levels),
            kind="overview" if "navigator" in name.lower() else kind_of(name),
            name=name,
            mpp=mpp,
            note=note_of(view.z_count, view.t_count),
        )


class FastSlideReader:
    """One image of a file with its levels."""

    name = "fastslide"
    background = WHITE

    def __init__(self, file: FastSlideFile, number: int) -> None:
        """Take the image of a number; what is read of several focal planes is the middle one."""
        self._file, self._view, self._lost = file, file.views[number], False
        self._depth = self._view.z_count // 2
        stored = file.images[number]
        self._numbers = [level.pages[0].at[1] for level in stored.levels]
        self.levels = [
            Level(level.pages[0].shape.width, level.pages[0].shape.height, level.downsample) for level in stored.levels
        ]
        self.properties = {"openslide.vendor": str(file.slide.format).lower()}
        if stored.mpp:
            self.properties |= {"fastslide.mpp-x": str(stored.mpp[0]), "fastslide.mpp-y": str(stored.mpp[1])}
        if power := file.slide.properties.get("objective_magnification"):
            self.properties["openslide.objective-power"] = str(power)
        profile = file.slide.icc_profile
        self.icc: bytes | None = bytes(profile) if profile else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What cannot be known of the image."""
        if len(self.levels) > 1:
            return ()
        return (
            "read by fastslide, which gives white for what it cannot decode, and without a smaller copy to compare "
            "with: white parts may be damaged",
        )

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read a rectangle of a level; see `Reader.read`."""

        def decode(left: int, top: int, wide: int, high: int) -> np.ndarray:
            pixels = self._read(level, left, top, wide, high)
            self._refuse_undecoded(level, left, top, pixels)
            return pixels

        return read_within(self.levels[level], x, y, width, height, decode)

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        where = f"{self._file.path}: level {level} at x={x}, y={y} cannot be decoded"
        if self._lost:
            raise SlideError(f"{where} (fastslide does not come back from a part that it was asked for before)")

        def region() -> np.ndarray:
            # A copy: the pixels belong to what fastslide returns.
            image = self._view.read_region((x, y), self._numbers[level], (width, height), self._depth)
            return np.array(image.numpy())

        try:
            pixels = _in_time(region)
        except TimeoutError as error:
            # It holds a lock for ever.
            self._lost = True
            raise SlideError(f"{where} ({error})") from error
        except Exception as error:
            raise SlideError(f"{where} ({_reason(error)})") from error
        if pixels.shape != (height, width, 3) or pixels.dtype != np.uint8:
            raise SlideError(f"{where} (fastslide gives {pixels.shape} of {pixels.dtype})")
        return pixels

    def _refuse_undecoded(self, level: int, x: int, y: int, pixels: np.ndarray) -> None:
        """Raise SlideError where pixels are white that a smaller copy shows otherwise: they could not be decoded."""
        if level + 1 >= len(self.levels):
            return
        at, coarser = self.levels[level], self.levels[level + 1]
        # So that a pixel of the smaller copy lies within a cell.
        side = max(_CELL, 2 * math.ceil(coarser.downsample / at.downsample))
        rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
        cells = pixels[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)
        blank = (cells == 255).all((1, 3, 4))
        if not blank.any():
            return
        scale = coarser.width / at.width, coarser.height / at.height
        left, top = int(x * scale[0]), int(y * scale[1])
        right = min(coarser.width, int((x + columns * side) * scale[0]) + 1)
        bottom = min(coarser.height, int((y + rows * side) * scale[1]) + 1)
        small = self._read(level + 1, left, top, right - left, bottom - top)
        for row, column in np.argwhere(blank).tolist():
            # The middle of the cell: its rim may be mixed with what lies beside it.
            across = int((x + (column + 0.5) * side) * scale[0]) - left
            down = int((y + (row + 0.5) * side) * scale[1]) - top
            if small[min(down, len(small) - 1), min(across, small.shape[1] - 1)].min() < _DARKER:
                raise SlideError(
                    f"{self._file.path}: level {level} at x={x + column * side}, y={y + row * side} cannot be decoded "
                    "(fastslide gives white, where a smaller copy shows tissue or glass)"
                )

    def close(self) -> None:
        """Give the file back; one of which fastslide holds a lock is left to the end of the process."""
        if not self._lost:
            self._file.slide.close()


def _in_time(work: Callable[[], Found]) -> Found:
    """Do what may never come back in a thread of its own; raises TimeoutError where it does not."""
    found: list[Found] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001  it is raised where it was asked for
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_LONGEST_S)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"fastslide does not come back within {_LONGEST_S:.0f} s")
    return found[0]


def _reason(error: Exception) -> str:
    """Return the first line of an error of fastslide, behind which it lists its own calls."""
    text = (str(error).splitlines() or [""])[0].strip() or type(error).__name__
    return text.split("': ", 1)[-1]
