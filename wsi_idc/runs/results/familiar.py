"""Whether a slide that was computed is like those that its model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from wsi_idc.base.grid import Block, Grid
from wsi_idc.errors import SlideError
from wsi_idc.heatmap.stream import StreamReport
from wsi_idc.inference.familiar import Familiarity, compare_slide, sample
from wsi_idc.tissue.tissue import Source


def familiarity(
    slide: Source, grid: Grid, wanted: np.ndarray, known: Mapping[str, Any] | None, report: StreamReport
) -> Familiarity | None:
    """Compare some of the patches that are `wanted`, (rows, cols) bool, and the features of all, with training.

    `known` is what the model keeps of its slides, `report` has the sums of the features. None where the model keeps
    nothing, or where there are too few patches to tell.
    """
    sums = report.sums
    if known is None or sums is None or not sums[-1]:
        return None
    pixels = []
    for row, col in sample(np.argwhere(wanted).tolist()):
        block = Block(row, col, row + 1, col + 1)
        try:
            pixels.append(slide.read(*grid.origin(block), *grid.pixel_size(block), grid.mpp))
        except SlideError:
            continue  # Reported where the patches are computed.
    return compare_slide(known, np.array(pixels), sums[:-1] / sums[-1]) if pixels else None
