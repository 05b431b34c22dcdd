"""Images of a TIFF or OME-TIFF that OpenSlide declines, or of which it would take the wrong one."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.errors import SlideError
from wsi_idc.slides.reader import WHITE, Level, read_within, undecodable
from wsi_idc.slides.tiff.images import StoredImage
from wsi_idc.slides.tiff.page_pixels import PagePixels
from wsi_idc.slides.tiff.pages import Place, ratio

_APERIO = {"openslide.objective-power": r"AppMag\s*=\s*([0-9.]+)", "aperio.mpp": r"MPP\s*=\s*([0-9.]+)"}

_ICC = 34675


class TiffReader:
    """One image of a TIFF with its levels, decoded by tifffile."""

    name = "tifffile"
    background = WHITE

    def __init__(self, path: Path, file: Any, pages: Mapping[Place, Any], image: StoredImage) -> None:
        """Take `image` of the open `tifffile.TiffFile`, which this closes, and its pages by place.

        Raises SlideError where the image is not RGB.
        """
        self._path, self._file = path, file
        if image.colour_problem:
            raise SlideError(f"{path}: {image.colour_problem}; it is not 8-bit RGB: export the slide as such")
        try:
            reading = threading.Lock()
            self._levels = [[PagePixels(pages[p.at], reading) for p in level.pages] for level in image.levels]
            self.properties = _properties(pages, pages[image.page.at], image)
            self.icc = _profile(pages[image.page.at])
        except SlideError as error:
            raise SlideError(f"{path}: {error}") from error
        except Exception as error:
            # Whatever a damaged file makes of the parser: ValueError, KeyError, ZeroDivisionError, MemoryError, ...
            raise SlideError(f"{path}: damaged or unusual TIFF ({type(error).__name__}: {error})") from error
        self.levels = [
            Level(planes[0].width, planes[0].height, level.downsample)
            for planes, level in zip(self._levels, image.levels, strict=True)
        ]

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read a rectangle of a level; see `Reader.read`."""

        def decode(left: int, top: int, wide: int, high: int) -> np.ndarray:
            try:
                planes = [plane.read(left, top, wide, high) for plane in self._levels[level]]
            except Exception as error:
                raise undecodable(self._path, level, left, top, error) from error
            return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)

        return read_within(self.levels[level], x, y, width, height, decode)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def _profile(page: Any) -> bytes | None:
    """Return the colour profile of a page, None where it has none."""
    return bytes(page.tags[_ICC].value) if _ICC in page.tags else None


def _properties(pages: Mapping[Place, Any], page: Any, image: StoredImage) -> dict[str, str]:
    """Name the facts of an image as OpenSlide names them, and what OME states of its scale, in um."""
    properties = {"openslide.vendor": "generic-tiff"}
    # An image of OME-TIFF has its description in the first page only.
    text = page.description or (pages[0,].description if image.name == "" else "")
    if text:
        properties["tiff.ImageDescription"] = text
    for name, tag in (("XResolution", 282), ("YResolution", 283)):
        if tag in page.tags:
            properties[f"tiff.{name}"] = str(ratio(page.tags[tag].value))
    if 296 in page.tags:
        properties["tiff.ResolutionUnit"] = {2: "inch", 3: "centimeter"}.get(int(page.tags[296].value), "none")
    if image.mpp and not image.is_ome:
        # Of other XML, that of Leica, the scale is named as OpenSlide names it.
        properties |= {f"openslide.mpp-{axis}": str(mpp) for axis, mpp in zip("xy", image.mpp, strict=True)}
        properties["openslide.vendor"] = "leica"
    elif image.mpp:
        properties |= {"ome.mpp-x": str(image.mpp[0]), "ome.mpp-y": str(image.mpp[1])}
    if image.power:
        properties["openslide.objective-power"] = str(image.power)
    if text.startswith("Aperio"):
        found = {name: match[1] for name, pattern in _APERIO.items() if (match := re.search(pattern, text))}
        if mpp := found.pop("aperio.mpp", None):
            properties |= {"openslide.mpp-x": mpp, "openslide.mpp-y": mpp, "openslide.vendor": "aperio"}
        properties |= found
    return properties
