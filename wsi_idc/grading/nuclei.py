"""Nuclei as the haematoxylin channel shows them: their share of a slide's cells, and of a field how many and how large.

No score follows of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.color import hed_from_rgb
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from wsi_idc.base.grid import Block, Grid
from wsi_idc.errors import SlideError
from wsi_idc.slides.slide import Slide

METHOD = (
    "haematoxylin by colour deconvolution (Ruifrok & Johnston 2001), Otsu's threshold of the field, watershed; all "
    "nuclei count, those of lymphocytes and stroma too; not a score"
)
# Nuclei are 6 to 12 um wide: at 0.5 um their outlines are told to a tenth of that, from slides coarser than 1 um not.
MEASURED_UM, COARSEST_UM = 0.5, 1.0
# Less haematoxylin than that is what paper-white stroma has, where Otsu's threshold would part noise from noise.
_LEAST_DENSITY = 0.12
_SMOOTH_UM = 0.75
# What is smaller is a fragment: a disc of 3.6 um. Two middles nearer than that are one.
_LEAST_UM2, _APART_UM = 10.0, 3.0
# Pixels read at once, a side.
_READ_SIDE = 1024
# Optical densities are counted in steps of 0.01, up to 2.55.
_BINS = 256


@dataclass(frozen=True, slots=True)
class Nuclei:
    """Of a field: `count`, `per_mm2`, and the quartiles of their areas in um2, None where none is wholly in it.

    A nucleus on the upper or left border counts, one on the lower or right does not, so that fields side by side count
    each once; `density` is the optical density of haematoxylin from which a pixel was nucleus.
    """

    count: int
    per_mm2: float
    area_um2: tuple[float, float, float] | None
    density: float


def haematoxylin(pixels: np.ndarray) -> np.ndarray:
    """Return the haematoxylin of (..., 3) uint8 RGB as optical density, (...) float32, at least 0.

    As `skimage.color.rgb2hed`, after Ruifrok & Johnston (2001), in a tenth of its time and in decadic units.
    """
    densities = -np.log10(np.maximum(np.arange(256) / 255, 1e-6))
    tables = (densities[:, None] * hed_from_rgb[:, 0]).astype(np.float32)
    total = sum(table[pixels[..., channel]] for channel, table in enumerate(tables.T))
    return np.maximum(total, 0)


def measure_nuclei(pixels: np.ndarray, mpp: float) -> Nuclei:
    """Measure the nuclei of a field, (rows, cols, 3) uint8 RGB at `mpp` um/px."""
    density = ndimage.gaussian_filter(haematoxylin(pixels), _SMOOTH_UM / mpp)
    flat = np.ptp(density) < 1e-6
    threshold = max(_LEAST_DENSITY, float(density.max()) if flat else float(threshold_otsu(density)))
    mask = ndimage.binary_fill_holes(density > threshold)
    labels = _parted(mask, mpp)
    sizes = np.bincount(labels.ravel())
    whole = sizes * mpp**2 >= _LEAST_UM2
    whole[0] = False
    ends, begins = (_on_border(labels, sides) for sides in ((-1,), (0,)))
    counted = whole.copy()
    counted[ends] = False
    inside = counted.copy()
    inside[begins] = False
    areas = sizes[inside] * mpp**2
    quartiles = np.percentile(areas, (25, 50, 75)) if len(areas) else None
    rows, cols = mask.shape
    return Nuclei(
        int(counted.sum()),
        round(float(counted.sum() / (rows * cols * mpp**2 / 1e6)), 1),
        None if quartiles is None else (*(round(float(q), 1) for q in quartiles),),  # type: ignore[arg-type]
        round(threshold, 3),
    )


def _parted(mask: np.ndarray, mpp: float) -> np.ndarray:
    """Return a number for each nucleus of a mask, 0 elsewhere; those that touch are parted where they are narrow."""
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1)
    middles = peak_local_max(
        depth, min_distance=max(1, round(_APART_UM / mpp)), labels=mask.astype(int), exclude_border=False
    )
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(middles.T)] = np.arange(1, len(middles) + 1)
    parted: np.ndarray = watershed(-depth, seeds, mask=mask)
    return parted


def _on_border(labels: np.ndarray, sides: tuple[int, ...]) -> np.ndarray:
    return np.unique(np.concatenate([edge for side in sides for edge in (labels[side], labels[:, side])]))


def nuclear_share(slide: Slide, cells: Grid, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the share of nuclei of each wanted cell, (rows, cols), 0 elsewhere, which are known, and where they begin.

    That is the density above which pixels are nuclei, by Otsu's threshold for all that was read. Known is what can be
    decoded; raises SlideError where no wanted cell can. Cells are counted by density as they are read, so that the
    slide is read once and its pixels need not be kept.
    """
    counts = np.zeros((int(wanted.sum()), _BINS), np.uint32)
    number = (np.cumsum(wanted) - 1).reshape(wanted.shape)
    size = cells.patch_size
    for block in cells.blocks(max(1, _READ_SIDE // size)):
        for part, pixels in _decoded(slide, cells, block, wanted):
            levels = np.minimum(100 * haematoxylin(pixels), _BINS - 1).astype(np.uint8)
            for row, col in np.argwhere(wanted[part.slices]):
                cell = levels[row * size : (row + 1) * size, col * size : (col + 1) * size]
                counts[number[part.top + row, part.left + col]] = np.bincount(cell.ravel(), minlength=_BINS)
    total = counts.sum(0, dtype=np.int64)
    if not total.any():
        raise SlideError(f"{slide.path}: none of its IDC can be decoded for fields; is the file whole?")
    used = np.arange(*(np.flatnonzero(total)[[0, -1]] + [0, 1]))
    # Between two steps, those above the threshold are nuclei; of one density only, none is.
    last = int(threshold_otsu(hist=(total[used], used))) if len(used) > 1 else int(used[0])
    share, known = np.zeros(wanted.shape), np.zeros(wanted.shape, bool)
    share[wanted] = counts[:, last + 1 :].sum(1) / size**2
    known[wanted] = counts.any(1)
    return share, known, (last + 1) / 100


def _decoded(slide: Slide, cells: Grid, block: Block, wanted: np.ndarray) -> Iterator[tuple[Block, np.ndarray]]:
    """Yield the pixels of a block in which cells are wanted; of one that cannot be decoded, of each cell that can."""
    if not wanted[block.slices].any():
        return
    try:
        yield block, slide.read(*cells.origin(block), *cells.pixel_size(block), cells.mpp)
    except SlideError:
        if block.shape == (1, 1):
            return
        for down, across in np.argwhere(wanted[block.slices]).tolist():
            row, col = block.top + down, block.left + across
            yield from _decoded(slide, cells, Block(row, col, row + 1, col + 1), wanted)
