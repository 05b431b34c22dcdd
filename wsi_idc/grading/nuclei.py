"""Nuclei of a field as the haematoxylin channel shows them: how many, how dense, how large. No score follows of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from wsi_idc.grading.fields import haematoxylin

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
