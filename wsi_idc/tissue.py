"""Where there is tissue on a slide, and what is glass, pen ink or out of focus, at low magnification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dask
import numpy as np
from scipy.ndimage import uniform_filter
from skimage.filters import apply_hysteresis_threshold
from skimage.morphology import closing, dilation, disk, opening, remove_small_holes, remove_small_objects
from skimage.transform import downscale_local_mean

from wsi_idc.errors import SlideError
from wsi_idc.slide import Slide

if TYPE_CHECKING:
    from wsi_idc.copied import CopiedSlide

MASK_UM = 8.0
# Read at twice the scale of the mask: the detail lost between the two tells sharp from blurred.
READ_UM = MASK_UM / 2
# Pixels of the mask a side that are read at once; see `copied.SIDE`.
_BLOCK = 400
# Optical density (log10) of the stain that green light sees, over the glass: certain tissue, and tissue beside it.
_STRONG, _WEAK = 0.06, 0.045
# Walls of fat cells are 60 to 120 um apart; closing by this radius fills the cells and keeps the gaps of the glass.
_CLOSE_UM = 56.0
_SMALLEST_MM2 = 0.02
# Focus is judged in windows of 256 um: detail between 4 and 8 um over detail between 8 and 16 um. Measured on eight
# sections, 99 % of sharp windows are above 0.68; blurred by 4 um (sigma) 95 % are below 0.5, by 8 um below 0.34.
_FOCUS_WINDOW = 32
_SHARP = 0.5
_DARK = "no bright background: not a brightfield H&E slide, nothing was looked at"
_GREY = "the tissue has no colour: not H&E in RGB, and the model cannot judge it"
_CAST = "the palest parts are coloured, not white: check the colours of the file before trusting the result"


@dataclass(frozen=True, slots=True)
class TissueMap:
    """Tissue of a slide at `um` um a pixel from its top-left corner.

    `mask` is (h, w) bool; ink is never tissue. Areas in mm2; `out_of_focus_share` is a share of the tissue.
    `unreadable` is (h, w) bool, where the file could not be decoded: counted neither as glass nor in `tissue_mm2`.
    `thumbnail` is (h, w, 3) uint8 RGB, the slide at the scale of the mask.
    """

    thumbnail: np.ndarray
    mask: np.ndarray
    unreadable: np.ndarray
    um: float
    tissue_mm2: float
    ink_mm2: float
    out_of_focus_share: float
    warnings: tuple[str, ...] = ()


def find_tissue(slide: Slide | CopiedSlide, workers: int = 1) -> TissueMap:
    """Find the tissue of an H&E slide: hysteresis on optical density over the glass, closed over fat cells.

    Keeps pale and fatty tissue, drops glass, dust and pen ink (blue, green and black; red ink looks like blood and is
    kept). `workers` threads read. A slide whose brightest parts are dark is not brightfield: its mask is empty and a
    warning says so. Raises SlideError where nothing of the slide can be decoded.
    """
    thumbnail, detail, unreadable = _read_low(slide, workers)
    glass = _glass_colour(thumbnail[~unreadable])
    mm2 = (MASK_UM / 1000) ** 2
    if glass is None:
        empty = np.zeros(unreadable.shape, bool)
        return TissueMap(thumbnail, empty, unreadable, MASK_UM, 0.0, 0.0, 0.0, (_DARK,))
    stain, ink = _stain_and_ink(thumbnail, glass)
    # Averaging over 3x3 keeps noise of the glass below the weak threshold.
    stain = uniform_filter(stain, 3, mode="nearest")
    mask = apply_hysteresis_threshold(stain, _WEAK, _STRONG)
    mask = closing(mask, disk(round(_CLOSE_UM / MASK_UM), decomposition="crosses"), mode="ignore")
    smallest = round(_SMALLEST_MM2 / mm2)
    mask = opening(mask, disk(1), mode="ignore")
    mask = remove_small_objects(mask, max_size=smallest)
    if mask.any():  # Else the glass of a very small image is a small hole itself.
        mask = remove_small_holes(mask, max_size=smallest) & ~ink & ~unreadable
    return TissueMap(
        thumbnail,
        mask,
        unreadable,
        MASK_UM,
        float(mask.sum() * mm2),
        float(ink.sum() * mm2),
        _out_of_focus(mask, thumbnail[..., 1], detail),
        _doubts(thumbnail[~unreadable], thumbnail[mask]),
    )


def _read_low(slide: Slide | CopiedSlide, workers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the slide: mean colour (h, w, 3) uint8, detail below that scale (h, w) float16, unreadable (h, w) bool."""
    width = max(1, round(slide.size[0] * slide.mpp.x / MASK_UM))
    height = max(1, round(slide.size[1] * slide.mpp.y / MASK_UM))
    # Small types: of a slide of 100,000 pixels a side each of these is 10 million.
    pixels = np.empty((height, width, 3), np.uint8)
    detail = np.zeros((height, width), np.float16)
    unreadable = np.zeros((height, width), bool)

    def read(top: int, left: int, h: int, w: int) -> None:
        at = np.s_[top : top + h, left : left + w]
        x, y = left * MASK_UM / slide.mpp.x, top * MASK_UM / slide.mpp.y
        try:
            fine = slide.read(x, y, 2 * w, 2 * h, READ_UM).astype(np.float32)
        except SlideError:
            if max(h, w) > 16:
                # Quarter the block, so that one damaged tile does not hide its surroundings.
                th, lw = (h + 1) // 2, (w + 1) // 2
                corners = [(0, 0, th, lw), (0, lw, th, w - lw), (th, 0, h - th, lw), (th, lw, h - th, w - lw)]
                for dy, dx, bh, bw in corners:
                    if bh and bw:
                        read(top + dy, left + dx, bh, bw)
                return
            unreadable[at] = True
            pixels[at] = slide.background
            return
        pixels[at] = np.rint(downscale_local_mean(fine, (2, 2, 1)))
        detail[at] = _lost_detail(fine[..., 1])

    blocks = [
        (top, left, min(_BLOCK, height - top), min(_BLOCK, width - left))
        for top in range(0, height, _BLOCK)
        for left in range(0, width, _BLOCK)
    ]
    dask.compute([dask.delayed(read)(*block) for block in blocks], scheduler="threads", num_workers=workers)
    if unreadable.all():
        raise SlideError(f"{slide.path}: none of it can be decoded; the file is damaged, copy it again from its source")
    return pixels, detail, unreadable


def _glass_colour(pixels: np.ndarray) -> np.ndarray | None:
    """Estimate the colour of empty glass from (n, 3) uint8 pixels; None where the slide is not brightfield."""
    brightness = pixels.min(axis=1)
    bright = np.percentile(brightness, 99)
    if bright < 120:
        return None
    # A section cut close may show no glass; then white is the better guess than its palest tissue.
    if bright < 200:
        return np.full(3, 240, np.float32)
    return np.median(pixels[brightness >= bright - 12], axis=0)


def _doubts(pixels: np.ndarray, tissue: np.ndarray) -> tuple[str, ...]:
    """Warn of a colour cast that no glass has, as when a file mistakes YCbCr for RGB, and of tissue without colour."""
    if len(tissue) and np.ptp(tissue, axis=1).mean() < 3:
        return (_GREY,)
    brightness = pixels.sum(axis=1, dtype=np.uint16)
    palest = np.median(pixels[brightness >= np.percentile(brightness, 95)], axis=0)
    return (_CAST,) if palest.max() - palest.min() > 60 else ()


def _stain_and_ink(pixels: np.ndarray, glass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the optical density of green light (h, w) float32, 0 at pen ink, and that ink (h, w) bool.

    Haematoxylin and eosin absorb red light less than green: on real sections red / green is 0.3 to 0.5, and above 0.9
    in less than 1 % of stained pixels. Pen absorbs red more, or all light.
    """
    stain = np.empty(pixels.shape[:2], np.float32)
    sure, maybe = np.empty(stain.shape, bool), np.empty(stain.shape, bool)
    for top in range(0, len(pixels), 256):
        band = slice(top, top + 256)
        density = -np.log10((pixels[band] + np.float32(1)) / (glass + 1).astype(np.float32))
        red, green = density[..., 0], density[..., 1]
        darkest = density.min(axis=2)
        stain[band] = green
        sure[band] = ((red > 1.2 * green) & (red > 0.2)) | (darkest > 0.8)
        maybe[band] = ((red > green) & (red > 0.15)) | (darkest > 0.6)
    kept = opening(sure, disk(2))
    ink = dilation(apply_hysteresis_threshold(kept.astype(np.int8) + (kept | maybe), 0, 1), disk(1))
    stain[ink] = 0
    return stain, ink


def _lost_detail(image: np.ndarray) -> np.ndarray:
    """Return the variance that averaging 2x2 pixels of (2h, 2w) loses, as (h, w)."""
    coarse = downscale_local_mean(image, (2, 2))
    return downscale_local_mean((image - coarse.repeat(2, 0).repeat(2, 1)) ** 2, (2, 2))


def _out_of_focus(mask: np.ndarray, green: np.ndarray, fine: np.ndarray) -> float:
    """Return the share of tissue whose finest detail is too weak beside the next coarser one."""
    height, width = (n // 2 * 2 for n in mask.shape)
    window = (_FOCUS_WINDOW, _FOCUS_WINDOW)
    weighed, blurred = 0.0, 0.0
    for top in range(0, height, 8 * _FOCUS_WINDOW):
        band = np.s_[top : min(top + 8 * _FOCUS_WINDOW, height), :width]
        tissue = downscale_local_mean(mask[band].astype(np.float32), window)
        detail = downscale_local_mean(fine[band].astype(np.float32), window)
        coarse = downscale_local_mean(_lost_detail(green[band].astype(np.float32)), (_FOCUS_WINDOW // 2,) * 2)
        # Windows of tissue and glass both have the sharp edge of the section in them: they say nothing of the focus.
        judged = tissue > 0.5
        weighed += float(tissue[judged].sum())
        blurred += float(tissue[judged & (detail < _SHARP * coarse)].sum())
    return blurred / weighed if weighed else 0.0
