"""Open any slide, settle its scale as a checked claim, and read a rectangle of it at any mpp."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_idc.base.raster import average
from wsi_idc.errors import ScaleError, SlideError, UnreachableError
from wsi_idc.slides.colour import Correction, correction_of, profile_name
from wsi_idc.slides.content import fingerprint_of, state_of_slide
from wsi_idc.slides.levels.likeness import Likeness
from wsi_idc.slides.open import describe_images, open_file
from wsi_idc.slides.paths.address import SlideAddress, given_name
from wsi_idc.slides.paths.find import file_to_open
from wsi_idc.slides.reader import Reader
from wsi_idc.slides.scale import claim_mpp, contradictions, given_mpp, number

if TYPE_CHECKING:
    from wsi_idc.models.package import ModelPackage
    from wsi_idc.slides.tiff.jpeg_tiles import JpegTileReader

# A level serves where it is at least twice as fine as asked, but for what vendors round: its own pixels and codec then
# hardly show. Of one section with other levels and as JPEG 70 to 95 the area of IDC came out up to 17 % larger with the
# coarsest level that fits, and so at most 4 % (docs/experiments.md).
LEVEL_MARGIN = 1.98
# A virtual level serves where a pixel asked for spans this many of its pixels a side, for at the borders of a pixel it
# tells no more than their mean. For 1,760 patches of tissue at 0.2525 um/px idc-context, at 4 um/px, gave probabilities
# at most 0.010 off where that was 8 (decoded at 1/2), 0.024 where 4, which changed 0.23 % of the classes, and 0.086
# where 2, which changed 0.91 % (benchmarks/shrunk.py). With 3.75 slides of up to 0.266 um/px count as 40x. A level of
# means serves wherever borders of pixels lie on borders of its own: on CMU-1-Small-Region.svs it moved probabilities by
# at most 0.002 (`idc-patch`: 0.015).
VIRTUAL_MARGIN = 3.75
# Level pixels decoded at once, a side: bounds the memory of a read whatever the downsample.
READ_SIDE = 2048


class Slide:
    """An open slide. Coordinates are level-0 pixels from the top-left corner of the image as QuPath shows it.

    Where a slide states `openslide.bounds-*` (MRXS and some others), that is the corner of the bounds, and the size is
    theirs. Reading is safe from several threads.

    >>> import wsi_idc
    >>> with wsi_idc.Slide("slide.tif") as slide:
    ...     slide.size, slide.mpp.x, slide.read(800, 400, 100, 60, mpp=8.0).shape
    ((750, 600), 4.0, (60, 100, 3))
    """

    def __init__(
        self,
        path: Path | str,
        mpp: float | None = None,
        series: int | None = None,
        icc: str = "ignore",
        mpp_missing: float | None = None,
    ) -> None:
        """Open a slide file, a folder that holds one DICOM slide, or OME-Zarr; `mpp` overrides what it states (um/px).

        `mpp_missing` holds where neither says anything that can be true.
        Of several images in a file the slide is taken, or that of number `series`, from 0. The path may be a
        `SlideAddress`, whose parts count more than the arguments. With `icc` "apply" colours are brought to sRGB by
        the colour profile of the file, where it has one. Raises SlideError where the file is not a readable slide or
        its scale cannot be trusted.
        """
        self.path, address = Path(path), SlideAddress.of(path)
        self.file = address.file
        series = series if address.series is None else address.series
        file = file_to_open(self.path, self.file)
        self._opened = state_of_slide(self.file)
        opened = open_file(file, series)
        self._reader: Reader = opened.reader
        self._series = series
        self.images = describe_images(opened)
        properties = self._reader.properties
        # The scale that was given in place of what the file states, um per pixel.
        self.given_mpp, giver = given_mpp(properties, address.mpp, mpp, mpp_missing)
        self._warnings: tuple[str, ...] = opened.warnings
        profile = self._reader.icc
        self.icc_profile = profile_name(profile) or "cannot be read" if profile else None
        self.correction: Correction | None = correction_of(profile) if profile and icc == "apply" else None
        if icc == "apply" and self.correction is None:
            reason = "cannot be applied" if profile else "is missing"
            self._warnings += (f"the colour profile (ICC) of the file {reason}: its colours were taken as they are",)
        self._warnings += tuple(contradictions(properties, self.given_mpp, giver))
        try:
            self.mpp = claim_mpp(self.path, properties, self.given_mpp, giver)
        except ScaleError:
            self._reader.close()
            raise
        level0 = self._reader.levels[0]
        self._offset = (int(properties.get("openslide.bounds-x", 0)), int(properties.get("openslide.bounds-y", 0)))
        self.size = (
            int(properties.get("openslide.bounds-width", level0.width - self._offset[0])),
            int(properties.get("openslide.bounds-height", level0.height - self._offset[1])),
        )
        self.background = self._reader.background
        self._likeness = Likeness(self._reader, self._offset, self.size)

    def __enter__(self) -> Slide:
        """Return the slide itself, for `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the slide."""
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._reader.close()

    @property
    def name(self) -> str:
        """Name of the file or folder, fit to print: what is not valid UTF-8 in it is replaced."""
        name = os.fsencode(given_name(self.file)).decode("utf-8", "replace")
        return name if self._series is None else f"{name}, image {self._series}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user has to know of how the file was read, one plain sentence each; reading it may add some."""
        return (*self._warnings, *self._likeness.warnings)

    @property
    def properties(self) -> Mapping[str, str]:
        """What the file states, by OpenSlide's names."""
        return self._reader.properties

    @property
    def jpeg_tiles(self) -> JpegTileReader | None:
        """The reader of the slide's JPEG tiles, or None."""
        from wsi_idc.slides.tiff.jpeg_tiles import JpegTileReader

        return self._reader if isinstance(self._reader, JpegTileReader) else None

    def best_level(self, mpp: float) -> int:
        """Return the coarsest level that is fine enough for `mpp` um/px, or 0 where none is.

        Fine enough is a level that is `LEVEL_MARGIN` times finer, and a virtual one that is `VIRTUAL_MARGIN` times. One
        that does not show what level 0 shows is none.
        """
        wanted = mpp / max(self.mpp.x, self.mpp.y)
        fits = [
            (level.downsample, i)
            for i, level in enumerate(self._reader.levels)
            if level.downsample <= (wanted / (VIRTUAL_MARGIN if level.virtual else LEVEL_MARGIN))
        ]
        return next((i for _, i in sorted(fits, reverse=True) if self._is_true(i)), 0)

    def _is_true(self, level: int) -> bool:
        return self._likeness.holds(self.jpeg_tiles.source(level) if self.jpeg_tiles else level)

    def level_downsample(self, mpp: float) -> float:
        """Return the downsample of the level that is read for `mpp` um/px."""
        return self._reader.levels[self.best_level(mpp)].downsample

    def _level_at(self, x: float, y: float, mpp: float) -> int:
        """Return the level for a rectangle from (x, y): coarser than `best_level` where a level of means is aligned."""
        best = self.best_level(mpp)
        aligned = [
            (level.downsample, i)
            for i, level in enumerate(self._reader.levels)
            if level.means
            and all((v / level.downsample).is_integer() for v in (mpp / self.mpp.x, mpp / self.mpp.y, x, y))
            and not any(self._offset)
            and self._is_true(i)
        ]
        return max([(self._reader.levels[best].downsample, best), *aligned])[1]

    def read(self, x: float, y: float, width: int, height: int, mpp: float) -> np.ndarray:
        """Read a rectangle at any scale: (height, width, 3) uint8 RGB with pixels of `mpp` um.

        (x, y) is its top-left corner in level-0 pixels, maybe fractional. Each pixel is the average, exact by area, of
        what it covers of the best level; outside the slide is background. Raises SlideError where it cannot be decoded.
        """
        level = self._level_at(x, y, mpp)
        downsample = self._reader.levels[level].downsample
        scale = (mpp / self.mpp.x / downsample, mpp / self.mpp.y / downsample)
        out = np.empty((height, width, 3), np.uint8)
        side = (max(1, int(READ_SIDE / scale[0])), max(1, int(READ_SIDE / scale[1])))
        for top in range(0, height, side[1]):
            for left in range(0, width, side[0]):
                part = out[top : top + side[1], left : left + side[0]]
                start = (x / downsample + left * scale[0], y / downsample + top * scale[1])
                self._average_into(part, level, start, scale)
        return out

    def _average_into(
        self, out: np.ndarray, level: int, start: tuple[float, float], scale: tuple[float, float]
    ) -> None:
        """Fill `out` with averages of a level; `start` and `scale` are in pixels of that level, (x, y)."""
        downsample = self._reader.levels[level].downsample
        height, width = out.shape[:2]
        limit = (self.size[0] / downsample, self.size[1] / downsample)
        offset = [o / downsample for o in self._offset]
        low, high = [], []
        for s, n, k, end, o in zip(start, (width, height), scale, limit, offset, strict=True):
            inside = max(0.0, s), min(end, s + n * k - 1e-6)
            if inside[1] <= inside[0]:
                out[:] = self.background
                return
            low.append(int(np.floor(inside[0] + o)))
            high.append(int(np.ceil(inside[1] + o)))
        block = self._reader.read(level, low[0], low[1], high[0] - low[0], high[1] - low[1])
        if self.correction:
            block = self.correction.apply(block, self.background)
        left, top = (s + o - begin for s, o, begin in zip(start, offset, low, strict=True))
        out[:] = average(block, (left, top), scale, (height, width), self.background)

    @cached_property
    def fingerprint(self) -> str:
        """Identify the slide by content, not name; see `content.fingerprint_of`."""
        return self._content()

    def _content(self) -> str:
        image = "" if self._series is None else f"image {self._series}"
        return fingerprint_of(self.file, self._reader.properties.get("openslide.quickhash-1", "") + image)

    def check_unchanged(self) -> None:
        """Raise SlideError where its files are no longer those that were opened: what was read may be of both.

        UnreachableError, where not the file alone is gone but what it lies on, as a network drive that is away. Sizes
        and times are compared, and what the fingerprint is made of.
        """
        try:
            same = state_of_slide(self.file) == self._opened and self._content() == self.fingerprint
        except OSError as error:
            if not isinstance(error, FileNotFoundError) or not self.file.parent.exists():
                reason = f"cannot be reached any more ({error.strerror}); run again once it is there"
                raise UnreachableError(f"{self.path}: {reason}") from error
            same = False
        if not same:
            raise SlideError(f"{self.path}: was changed while it was read; run again once it stays as it is")

    def describe(self) -> dict[str, Any]:
        """Return the facts of the slide: format, size, scale and its source, bounds, levels, fingerprint."""
        properties = self._reader.properties
        return {
            "slide": self.name,
            "reader": self._reader.name,
            "vendor": properties.get("openslide.vendor", ""),
            "width": self.size[0],
            "height": self.size[1],
            "mpp": asdict(self.mpp),
            "width_mm": round(self.size[0] * self.mpp.x / 1000, 4),
            "height_mm": round(self.size[1] * self.mpp.y / 1000, 4),
            "objective_power": number(properties.get("openslide.objective-power")),
            "bounds_offset": list(self._offset),
            "background": list(self.background),
            "icc_profile": self.icc_profile,
            "levels": [
                {"width": v.width, "height": v.height, "downsample": v.downsample, "mpp": v.downsample * self.mpp.x}
                for v in self._reader.levels
                if not v.virtual
            ],
            "images": self.images,
            "warnings": list(self.warnings),
            "fingerprint": self.fingerprint,
        }


def describe_slide(path: Path, mpp: float | None = None, series: int | None = None) -> dict[str, Any]:
    """Return `Slide.describe()`, and for a slide whose scale cannot be trusted what is known without it.

    Then `scale_problem` says why, else it is null; lengths and scales that need it are null. Raises SlideError where
    the file is not a readable slide.
    """
    problem = None
    try:
        slide = Slide(path, mpp, series)
    except ScaleError as error:
        problem = str(error)
        slide = Slide(path, 1.0, series)
    with slide:
        facts = slide.describe() | {"scale_problem": problem}
    if problem:
        facts |= {"mpp": None, "width_mm": None, "height_mm": None}
        facts["levels"] = [level | {"mpp": None} for level in facts["levels"]]
    return facts


MAX_COARSER = 1.10


def check_scale(slide: Slide, package: ModelPackage) -> None:
    """Raise SlideError where a slide is too coarse for a model."""
    if max(slide.mpp.x, slide.mpp.y) > MAX_COARSER * package.mpp:
        raise SlideError(
            f"{slide.path}: at {slide.mpp.x:.4g} um/px it is coarser than the {package.mpp:g} um/px that the model "
            f"{package.name} sees; scan it at higher magnification or use a model for this scale"
        )
