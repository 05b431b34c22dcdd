"""Put the section of a patient together again from its patches, as a slide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsi_idc.base.disk.left import temporary_folder
from wsi_idc.base.disk.trouble import output_error
from wsi_idc.base.files import put_in_place
from wsi_idc.data.kaggle import LabelledPatch, index_patches, read_patch
from wsi_idc.data.scale import mpp_of
from wsi_idc.slides.write import write_slide

WHITE = 255


def paste_patches(patches: Sequence[LabelledPatch]) -> np.ndarray:
    """Paste patches at their places: (h, w, 3) uint8 RGB, white where a patch is missing.

    The corner of the section is that of the slide the patches were cut from, so that x and y of a file name are level-0
    pixels (1-based).
    """
    images = [read_patch(p.path) for p in patches]
    height = max(p.y - 1 + i.shape[0] for p, i in zip(patches, images, strict=True))
    width = max(p.x - 1 + i.shape[1] for p, i in zip(patches, images, strict=True))
    section = np.full((height, width, 3), WHITE, np.uint8)
    for patch, image in zip(patches, images, strict=True):
        top, left = patch.y - 1, patch.x - 1
        section[top : top + image.shape[0], left : left + image.shape[1]] = image
    return section


def assemble(folder: Path, patient: str, output: Path, overwrite: bool = False) -> Path:
    """Write the section of `patient` under `folder` (Kaggle's layout) as `output/<patient>.tif`.

    The slide is a lossless tiled pyramidal TIFF at the scale that the folder states, or else 4 um/px. Places without a
    patch are white: the authors of the set dropped most background and fat. The same section that is there stays.
    Raises DataError for an unknown patient, and without `overwrite` OutputError where another file has that name: it
    may be the slide they were cut from.
    """
    section, mpp = paste_patches(index_patches(folder, {patient})), mpp_of(folder)
    path = output / f"{patient}.tif"
    try:
        output.mkdir(parents=True, exist_ok=True)
        with temporary_folder(output, path.name) as temporary:
            made = write_slide(Path(temporary) / path.name, section, mpp, compression="deflate")
            put_in_place(made, path, overwrite)
    except OSError as error:
        raise output_error(path, error) from error
    return path
