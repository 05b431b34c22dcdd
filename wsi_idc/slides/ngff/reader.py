"""OME-Zarr images of version 0.4 and 0.5, as Zarr reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsi_idc.errors import SlideError
from wsi_idc.slides.ngff.images import NgffImage, missing_notes
from wsi_idc.slides.reader import WHITE, Level, read_within, undecodable


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

        def decode(left: int, top: int, wide: int, high: int) -> np.ndarray:
            try:
                return self._planes[level].read(left, top, wide, high)
            except Exception as error:
                raise undecodable(self._path, level, left, top, error) from error

        return read_within(self.levels[level], x, y, width, height, decode)

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
