"""Where there is tissue on a slide, and what is glass, pen ink or out of focus, at low magnification."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from wsi_idc.base.raster import average
from wsi_idc.base.threads import in_parallel
from wsi_idc.errors import SlideError
from wsi_idc.slides.scale import Mpp
from wsi_idc.tissue.bands import BAND, Bands, window_means, without_small
from wsi_idc.tissue.light import Light, find_light
from wsi_idc.tissue.smooth import smooth_doubts
from wsi_idc.tissue.stain import CAST, INVERTED, UNLIKE_STAIN, dark_doubts, stain_doubts
from wsi_idc.tissue.stained import CLOSING_REACH, closed, find_ink, find_stain, rim_of

MASK_UM = 8.0
# Read at twice the scale of the mask: the detail lost between the two tells sharp from blurred.
READ_UM = MASK_UM / 2
# Pixels of the mask a side that are read at once; see `copied.SIDE`.
_BLOCK = 200
# Pixels a side that a picture of the slide may have at most.
_LARGEST = 2000
_SMALLEST_MM2 = 0.02
# Focus is judged in windows of 320 um, which blocks are whole numbers of: detail between 4 and 8 um over detail between
# 8 and 16 um. Measured on eight sections, in windows of 256 um, 99 % of sharp ones are above 0.68; blurred by 4 um
# (sigma) 95 % are below 0.5, by 8 um below 0.34.
_FOCUS_WINDOW = 40
_SHARP = 0.5
# More tissue than this share of what was scanned is hardly ever true.
_FULL = 0.9
_BLANK = "all of the image is of one colour, as where a file holds no pixels or transparent ones: nothing was looked at"
_INKED = (
    "more of it looks like pen ink than like tissue, and ink is not looked at: if there is none, its colours are not "
    "those of H&E, or channels are swapped"
)
_GUESSED = "no empty glass is seen: what is tissue was told from a guess at the colour of glass, check it"


@dataclass(frozen=True, slots=True)
class TissueMap:
    """Tissue of a slide at `um` um a pixel from its top-left corner.

    `mask` is (h, w) bool; ink is never tissue. Areas in mm2; `out_of_focus_share` is a share of the tissue.
    `unreadable` is (h, w) bool, where the file could not be decoded: counted neither as glass nor in `tissue_mm2`.
    `thumbnail` is uint8 RGB, the whole slide at the scale of the mask, or a whole number of times smaller.
    """

    thumbnail: np.ndarray
    mask: np.ndarray
    unreadable: np.ndarray
    um: float
    tissue_mm2: float
    ink_mm2: float
    out_of_focus_share: float
    warnings: tuple[str, ...] = ()

    def without_planes(self) -> TissueMap:
        """Return the same without the masks, which of a large slide are 20 MB, once they have been used."""
        none = np.zeros((0, 0), bool)
        return replace(self, mask=none, unreadable=none)


class Source(Protocol):
    """What tissue is looked for on: a `slide.Slide`, or what stands for one."""

    path: Path
    size: tuple[int, int]
    mpp: Mpp
    background: tuple[int, int, int]

    def read(self, x: float, y: float, width: int, height: int, mpp: float) -> np.ndarray:
        """Read a rectangle; see `slide.Slide.read`."""
        ...


def find_tissue(slide: Source, threads: int = 1) -> TissueMap:
    """Find the tissue of an H&E slide: hysteresis on optical density over the glass, closed over fat cells.

    Keeps pale and fatty tissue, drops glass, dust and pen ink of most hues; red ink looks like blood and is kept, with
    a warning where it has no texture. So many `threads` read and compute. A slide whose brightest parts are dark is not
    brightfield: its mask is empty and a warning says so. Raises SlideError where nothing of it can be decoded.
    """
    thumbnail, detail, unreadable = _read_low(slide, threads)
    mm2 = (MASK_UM / 1000) ** 2
    bands = Bands(len(thumbnail), threads)
    light = find_light(thumbnail, unreadable, slide.background, bands)
    # A negative has no glass to be seen, though its nuclei may be as bright as some.
    doubts = dark_doubts(thumbnail) if light.seen is None else ()
    if light.glass is None or INVERTED in doubts:
        empty = np.zeros(unreadable.shape, bool)
        return TissueMap(_smaller(thumbnail), empty, unreadable, MASK_UM, 0.0, 0.0, 0.0, doubts)
    rim = rim_of(light, bands)
    ink = find_ink(thumbnail, light, rim, bands)
    mask = find_stain(thumbnail, light, ink, rim, bands)
    mask = bands.over(mask, closed, CLOSING_REACH)
    smallest = round(_SMALLEST_MM2 / mm2)
    mask = without_small(mask, smallest)
    if mask.any():  # Else the glass of a very small image is a small hole itself.
        # In place: copies of the mask are much of the memory of a large slide.
        holes = np.logical_not(mask, out=mask)
        mask = without_small(holes, smallest)
        np.logical_not(mask, out=mask)
        mask[ink] = False
        mask[unreadable] = False
        if light.padding is not None:
            mask[light.padding] = False
    doubts = (*_content_doubts(thumbnail, mask, ink), *_doubts(thumbnail, mask, unreadable, light))
    if UNLIKE_STAIN.isdisjoint(doubts):
        doubts += smooth_doubts(thumbnail, mask, light, MASK_UM, bands)
    return TissueMap(
        _smaller(thumbnail),
        mask,
        unreadable,
        MASK_UM,
        float(mask.sum() * mm2),
        float(ink.sum() * mm2),
        _out_of_focus(mask, thumbnail[..., 1], detail),
        doubts,
    )


def _content_doubts(thumbnail: np.ndarray, mask: np.ndarray, ink: np.ndarray) -> tuple[str, ...]:
    """Warn of a picture that shows nothing, and of one that shows more ink than tissue."""
    if not mask.any() and (thumbnail == thumbnail[0, 0]).all():
        return (_BLANK,)
    return (_INKED,) if int(ink.sum()) > max(int(mask.sum()), round(_SMALLEST_MM2 / (MASK_UM / 1000) ** 2)) else ()


def _doubts(thumbnail: np.ndarray, mask: np.ndarray, unreadable: np.ndarray, light: Light) -> tuple[str, ...]:
    """Gather what is doubtful of the glass and the stain."""
    stain = stain_doubts(thumbnail, mask, unreadable, light)
    # Where the colours of the file are wrong, so is all that they tell of the glass.
    return stain if CAST in stain else (*_glass_doubts(mask, unreadable, light), *stain)


def _glass_doubts(mask: np.ndarray, unreadable: np.ndarray, light: Light) -> tuple[str, ...]:
    """Warn where the glass was not seen, and where hardly any of what was scanned is glass."""
    scanned = mask.size - int(unreadable.sum())
    if light.padding is not None:
        scanned -= int((light.padding & ~unreadable).sum())
    share = int(mask.sum()) / max(1, scanned)
    if share > _FULL:
        return (f"{share:.0%} of what was scanned would be tissue: glass may have been taken for it, check it",)
    return () if light.told or not mask.any() else (_GUESSED,)


def _smaller(thumbnail: np.ndarray) -> np.ndarray:
    """Return a picture of the slide that is large enough to look at."""
    factor = -(-max(thumbnail.shape[:2]) // _LARGEST)
    if factor == 1:
        return thumbnail
    bands = (thumbnail[top : top + factor * BAND] for top in range(0, len(thumbnail), factor * BAND))
    return np.concatenate([np.asarray(Image.fromarray(band).reduce(factor)) for band in bands])


def _read_low(slide: Source, threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the slide: mean colour (h, w, 3) uint8, the mean detail below that scale of windows, unreadable (h, w)."""
    width = max(1, round(slide.size[0] * slide.mpp.x / MASK_UM))
    height = max(1, round(slide.size[1] * slide.mpp.y / MASK_UM))
    # Small types: of a slide of 100,000 pixels a side each of these is 10 million.
    pixels = np.zeros((height, width, 3), np.uint8)
    detail = np.zeros((-(-height // _FOCUS_WINDOW), -(-width // _FOCUS_WINDOW)), np.float32)
    unreadable = np.zeros((height, width), bool)

    def read(block: tuple[int, int, int, int]) -> None:
        waiting = [block]
        while waiting:
            top, left, h, w = waiting.pop()
            at = np.s_[top : top + h, left : left + w]
            x, y = left * MASK_UM / slide.mpp.x, top * MASK_UM / slide.mpp.y
            try:
                fine = slide.read(x, y, 2 * w, 2 * h, READ_UM)
            except SlideError:
                if max(h, w) > 16:
                    # Quarter the block, so that one damaged tile does not hide its surroundings.
                    rows, cols = ((start, start + n // 2, start + n) for start, n in ((top, h), (left, w)))
                    quarters = [(r, c, r2 - r, c2 - c) for r, r2 in pairwise(rows) for c, c2 in pairwise(cols)]
                    waiting += [quarter for quarter in quarters if all(quarter[2:])]
                else:
                    unreadable[at] = True
                    pixels[at] = slide.background
                continue
            pixels[at] = average(fine, (0.0, 0.0), (2.0, 2.0), (h, w), slide.background)
            if top % _FOCUS_WINDOW == left % _FOCUS_WINDOW == 0:  # Else it is a part of a block that is damaged.
                means = window_means(_lost_detail(fine[..., 1]), _FOCUS_WINDOW)
                row, col = top // _FOCUS_WINDOW, left // _FOCUS_WINDOW
                detail[row : row + means.shape[0], col : col + means.shape[1]] = means

    blocks = [
        (top, left, min(_BLOCK, height - top), min(_BLOCK, width - left))
        for top in range(0, height, _BLOCK)
        for left in range(0, width, _BLOCK)
    ]
    in_parallel(read, blocks, threads)
    if unreadable.all():
        raise SlideError(f"{slide.path}: none of it can be decoded; the file is damaged, copy it again from its source")
    return pixels, detail, unreadable


def _lost_detail(image: np.ndarray) -> np.ndarray:
    """Return the variance that averaging 2x2 pixels of (2h, 2w) uint8 loses, as (h, w) float32."""
    # All whole numbers below 2**24, which float32 holds exactly.
    a, b, c, d = (image[i::2, j::2].astype(np.float32) for i in (0, 1) for j in (0, 1))
    return (4 * (a * a + b * b + c * c + d * d) - (a + b + c + d) ** 2) / 16


def _out_of_focus(mask: np.ndarray, green: np.ndarray, fine: np.ndarray) -> float:
    """Return the share of tissue whose finest detail, by windows, is too weak beside the next coarser one."""
    height, width = (n // 2 * 2 for n in mask.shape)
    weighed, blurred = 0.0, 0.0
    for top in range(0, height, 8 * _FOCUS_WINDOW):
        band = np.s_[top : min(top + 8 * _FOCUS_WINDOW, height), :width]
        tissue = window_means(mask[band], _FOCUS_WINDOW)
        coarse = window_means(_lost_detail(green[band]), _FOCUS_WINDOW // 2)
        detail = fine[top // _FOCUS_WINDOW :][: tissue.shape[0], : tissue.shape[1]]
        # Windows of tissue and glass both have the sharp edge of the section in them: they say nothing of the focus.
        judged = tissue > 0.5
        weighed += float(tissue[judged].sum())
        blurred += float(tissue[judged & (detail < _SHARP * coarse)].sum())
    return blurred / weighed if weighed else 0.0
