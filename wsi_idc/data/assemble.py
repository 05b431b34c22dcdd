"""Put the section of a patient together again from its patches, as a slide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsi_idc.data.kaggle import LabelledPatch, index_patches, read_patch
from wsi_idc.errors import DataError
from wsi_idc.output import output_error
from wsi_idc.pyramid import write_slide

# The scale of the Kaggle patches: slides scanned at 0.25 um/px, reduced 16:1.
PATCH_MPP = 4.0
WHITE = 255
_FARTHEST = 50_000  # pixels: 20 cm


def paste_patches(patches: Sequence[LabelledPatch]) -> np.ndarray:
    """Paste patches at their places: (h, w, 3) uint8 RGB, white where a patch is missing.

    The corner of the section is that of the slide the patches were cut from, so that x and y of a file name are level-0
    pixels (1-based).
    """
    for patch in patches:
        if not (1 <= patch.x <= _FARTHEST and 1 <= patch.y <= _FARTHEST):
            raise DataError(f"{patch.path}: x={patch.x}, y={patch.y} is no place on a section at {PATCH_MPP:g} um/px")
    images = [read_patch(p.path) for p in patches]
    height = max(p.y - 1 + i.shape[0] for p, i in zip(patches, images, strict=True))
    width = max(p.x - 1 + i.shape[1] for p, i in zip(patches, images, strict=True))
    section = np.full((height, width, 3), WHITE, np.uint8)
    for patch, image in zip(patches, images, strict=True):
        top, left = patch.y - 1, patch.x - 1
        section[top : top + image.shape[0], left : left + image.shape[1]] = image
    return section


def assemble(folder: Path, patient: str, output: Path) -> Path:
    """Write the section of `patient` under `folder` (Kaggle's layout) as `output/<patient>.tif`.

    The slide is a lossless tiled pyramidal TIFF at 4 um/px. Places without a patch are white: the authors of the set
    dropped most background and fat. Raises DataError for an unknown patient.
    """
    patches = index_patches(folder, {patient})
    if not patches:
        raise DataError(f"{folder}: no patches of patient {patient}")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(output, error) from error
    return write_slide(output / f"{patient}.tif", paste_patches(patches), PATCH_MPP, compression="deflate")
