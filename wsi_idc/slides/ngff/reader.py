"""OME-Zarr images of version 0.4 and 0.5, as Zarr reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsi_idc.errors import SlideError
from wsi_idc.slides.ngff.images import NgffImage, missing_notes
from wsi_idc.slides.reader import WHITE, Level, part_within


class NgffReader:
    """One image of an OME-Zarr store with its levels. What is missing in the store is white.

    `warnings` says which of its chunks and levels are missing or were not used.
    """

    name = "zarr"
    background = WHITE
    # Version 0.5 and those before know of no profile.
    icc: bytes | None = None

    def __init__(self, path: Path, image: NgffImage) -> None:
        """Take an image of the store `path`; raises SlideError where none of its pixels are there."""
        self._path = path
        try:
            usable, notes = missing_notes(image)
        except (OSError, ValueError) as error:
            raise SlideError(f"{path}: {error}") from error
        self.warnings = (*image.notes, *notes)
        self._planes = [image.planes[i] for i in usable]
        stored = [image.stored.levels[i] for i in usable]
        self.levels = [
            Level(plane.width, plane.height, level.downsample)
            for plane, level in zip(self._planes, stored, strict=True)
        ]
        self.properties = _properties(image)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read a rectangle of a level; see `Reader.read`."""
        out = np.full((height, width, 3), 255, np.uint8)
        part = part_within(self.levels[level], x, y, width, height)
        if part is None:
            return out
        (left, top, right, bottom), inside = part
        try:
            pixels = self._planes[level].read(left, top, right - left, bottom - top)
        except Exception as error:
            # Each codec has errors of its own.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SlideError(
                f"{self._path}: level {level} at x={left}, y={top} cannot be decoded ({reason})"
            ) from error
        out[inside] = pixels
        return out

    def close(self) -> None:
        """Give the store back: its files are open only while they are read."""


def _properties(image: NgffImage) -> dict[str, str]:
    """Name the facts of an image as OpenSlide names them, and what its attributes and its XML state of its scale."""
    properties = {"openslide.vendor": "ome-zarr"}
    described = image.described
    stated = {"ngff": image.mpp, "ome": described.mpp if described else None}
    for source, mpp in stated.items():
        if mpp:
            properties |= {f"{source}.mpp-x": str(mpp[0]), f"{source}.mpp-y": str(mpp[1])}
    if described and described.power:
        properties["openslide.objective-power"] = str(described.power)
    return properties
