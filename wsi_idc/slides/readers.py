"""Pixels of a slide file by level: OpenSlide for all that it reads, tifffile for the TIFFs that it declines.

Slides of JPEG tiles are opened by OpenSlide and read by `jpeg_tiles`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree

import numpy as np

from wsi_idc.errors import SlideError
from wsi_idc.grid import cut

WHITE = (255, 255, 255)
# Side of the tiles, in pixels of a level, that a level with a fractional downsample is read by.
_LATTICE = 512
# Bytes of decoded tiles that OpenSlide keeps: half of what it would, and as fast where neighbours are read in turn.
_CACHE = 1 << 24
# A TIFF level of fewer strips than this and more samples than that is decoded whole, once.
_FEW_STRIPS, _LARGE = 8, 1 << 24


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a pyramid: size in pixels, and how many level-0 pixels one of its pixels spans.

    A virtual level is not in the file: the reader makes it while it decodes another one. Its pixels may be `means` of
    that one.
    """

    width: int
    height: int
    downsample: float
    virtual: bool = False
    means: bool = False


class Reader(Protocol):
    """What `slide.Slide` needs of a file format."""

    name: str
    levels: list[Level]
    properties: dict[str, str]
    background: tuple[int, int, int]

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read (height, width, 3) uint8 RGB at a level, from pixel (x, y) of that level.

        Transparent and missing pixels are background. What is read at a pixel does not depend on where the rectangle
        begins. Raises SlideError where the file cannot be decoded; the reader stays usable.
        """
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


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
        colour = self.properties.get("openslide.background-color", "ffffff")
        self.background = (int(colour[0:2], 16), int(colour[2:4], 16), int(colour[4:6], 16))

    def _open(self) -> Any:
        import openslide

        slide = openslide.OpenSlide(self._path)
        slide.set_cache(self._cache)
        return slide

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read a rectangle of a level; see `Reader.read`."""
        downsample = self.levels[level].downsample
        if downsample == int(downsample):
            return self._read(level, (x * int(downsample), y * int(downsample)), (width, height))
        # Between two pixels of level 0 OpenSlide interpolates, so that what it reads depends on where a read begins.
        # On a lattice that does not: each tile is less than a pixel of level 0 off, and the same for every caller.
        out = np.empty((height, width, 3), np.uint8)
        for row, col, within, part in cut(y, x, height, width, (_LATTICE, _LATTICE)):
            at = (int(col * _LATTICE * downsample), int(row * _LATTICE * downsample))
            # From the corner of the tile, whatever part of it is asked for.
            out[part] = self._read(level, at, (within[1].stop, within[0].stop))[within]
        return out

    def _read(self, level: int, location: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """Read a rectangle of a level at a location in pixels of level 0."""
        import openslide

        try:
            image = self._slide.read_region(location, level, size)
        except openslide.OpenSlideError:
            # One undecodable tile puts the whole handle into an error state, for every thread: read again on a
            # fresh one, which then serves the others, so that only what is really damaged fails.
            try:
                with self._lock:
                    self._slide, fresh = self._open(), self._open()
            except (openslide.OpenSlideError, OSError) as error:
                raise SlideError(f"{self._path}: the file cannot be read any more ({error})") from error
            try:
                image = fresh.read_region(location, level, size)
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


class TiffReader:
    """A tiled or flat RGB TIFF or OME-TIFF, read through tifffile's Zarr view of its levels."""

    name = "tifffile"
    background = WHITE

    def __init__(self, path: Path) -> None:
        """Open `path`; raises SlideError where it is not a whole 8-bit RGB TIFF."""
        import tifffile

        self._path = path
        try:
            self._file = tifffile.TiffFile(path)
        except Exception as error:
            raise SlideError(f"{path}: not a slide that OpenSlide or tifffile can read ({error})") from error
        try:
            self._open_levels()
            self.properties = _tiff_properties(self._file)
        except SlideError:
            self._file.close()
            raise
        except Exception as error:
            # Whatever a damaged file makes of the parser: ValueError, KeyError, ZeroDivisionError, MemoryError, ...
            self._file.close()
            raise SlideError(f"{path}: damaged or unusual TIFF ({type(error).__name__}: {error})") from error

    def _open_levels(self) -> None:
        import tifffile
        import zarr

        series = self._file.series[0]
        shape, frame = series.shape, self._file.pages.first
        self._planar = series.axes[-3:] == "SYX"
        colours, codec = tifffile.PHOTOMETRIC(frame.photometric).name, tifffile.COMPRESSION(frame.compression).name
        # JPEG stores YCbCr, and is decoded to RGB; without JPEG the numbers are what they say.
        is_rgb = colours == "RGB" or (colours == "YCBCR" and "JPEG" in codec)
        if (
            series.dtype != np.uint8
            or series.axes not in ("YXS", "SYX")
            or 3 not in (shape[0], shape[-1])
            or not is_rgb
        ):
            raise SlideError(
                f"{self._path}: {series.dtype} {colours} with axes {series.axes} {shape} is not 8-bit "
                "RGB; export the slide as 8-bit brightfield RGB"
            )
        if any(not level.keyframe.dataoffsets for level in series.levels):
            raise SlideError(f"{self._path}: its table of tiles is missing; is the file whole?")
        self._levels: list[Any] = []
        for level in series.levels:
            if len(level.keyframe.dataoffsets) < _FEW_STRIPS and level.size > _LARGE:
                # Every read would decode a large part of the file: decode it once, into a temporary file.
                self._levels.append(level.asarray(out="memmap"))
            else:
                # The fill value is what a tile that the file leaves out reads as.
                store = level.aszarr(level=0, fillvalue=255)
                self._levels.append(zarr.open_array(store, mode="r", zarr_format=2))
        sizes = [(s.shape[-1], s.shape[-2]) if self._planar else (s.shape[1], s.shape[0]) for s in self._levels]
        self.levels = [Level(w, h, (sizes[0][0] / w + sizes[0][1] / h) / 2) for w, h in sizes]

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read a rectangle of a level; see `Reader.read`."""
        out = np.full((height, width, 3), 255, np.uint8)
        at = self.levels[level]
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, at.width), min(y + height, at.height)
        if left < right and top < bottom:
            index: tuple[Any, ...] = (slice(top, bottom), slice(left, right))
            try:
                pixels = np.asarray(self._levels[level][(slice(None), *index) if self._planar else index])
            except Exception as error:
                # Each codec has errors of its own.
                raise SlideError(
                    f"{self._path}: level {level} at x={left}, y={top} cannot be decoded ({error})"
                ) from error
            if self._planar:
                pixels = np.moveaxis(pixels, 0, -1)
            out[top - y : bottom - y, left - x : right - x] = pixels
        return out

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def _tiff_properties(file: Any) -> dict[str, str]:
    """Name the facts of a TIFF as OpenSlide names them, and OME's physical pixel size in um."""
    page = file.pages[0]
    properties = {"openslide.vendor": "generic-tiff"}
    for tag in ("ImageDescription", "XResolution", "YResolution", "ResolutionUnit"):
        if tag not in page.tags:
            continue
        value = page.tags[tag].value
        if tag in ("XResolution", "YResolution"):
            value = value[0] / value[1] if value[1] else 0
        elif tag == "ResolutionUnit":
            value = {2: "inch", 3: "centimeter"}.get(int(value), "none")
        properties[f"tiff.{tag}"] = str(value)
    return properties | (_ome_mpp(file.ome_metadata) if file.is_ome else {})


def _ome_mpp(xml: str) -> dict[str, str]:
    """Return the physical pixel size that OME-XML states, in um; nothing where the XML makes no sense."""
    try:
        pixels = ElementTree.fromstring(xml).find("{*}Image/{*}Pixels")
    except ElementTree.ParseError:
        return {}
    if pixels is None:
        return {}
    units = {"µm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}
    try:
        return {
            f"ome.mpp-{axis.lower()}": str(
                float(pixels.get(f"PhysicalSize{axis}", "")) * units[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
            )
            for axis in "XY"
        }
    except (ValueError, KeyError):
        return {}


def open_reader(path: Path) -> Reader:
    """Open a slide file with the fastest reader that takes it; raises SlideError with the reason where none does."""
    import openslide

    from wsi_idc.slides.jpeg_tiles import open_jpeg_tiles

    try:
        reader = OpenSlideReader(path)
        if "<OME " not in reader.properties.get("tiff.ImageDescription", ""):
            return open_jpeg_tiles(path, reader) or reader
        # OpenSlide takes a tiled OME-TIFF for a plain TIFF: it knows neither its scale nor its levels in SubIFDs.
        try:
            tiff = TiffReader(path)
        except SlideError:
            return reader
        reader.close()
        return tiff
    except openslide.OpenSlideUnsupportedFormatError:
        return TiffReader(path)
    except openslide.OpenSlideError as error:
        reason = str(error).replace(f"Reading {path}: ", "")
        raise SlideError(f"{path}: OpenSlide cannot open it ({reason}); is the file whole?") from error
