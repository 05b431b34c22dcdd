"""The pixels that pictures of a whole slide are made of: its own where that is cheap."""

from __future__ import annotations

import numpy as np

from wsi_idc.errors import SlideError
from wsi_idc.heatmap.encode import Source
from wsi_idc.slides.slide import Slide
from wsi_idc.tissue.cached_slide import CopiedSlide
from wsi_idc.tissue.tissue import READ_UM

# Pixels of the longer side of a picture, at most.
LONGEST = 1400
# With so many what there is already will do: of any slide of more than 8 mm.
_ENOUGH = 1000
# Pixels of a level that may be decoded for it.
_CHEAP = 12_000_000


def picture(slide: Slide, copy: CopiedSlide, thumbnail: np.ndarray) -> np.ndarray:
    """Return the whole slide, (h, w, 3) uint8 RGB, its longer side about `LONGEST` pixels, or less where that is dear.

    `thumbnail` is the slide as tissue was found on it, `copy` what was kept of it at twice that scale.
    """
    width, height = (s * m for s, m in zip(slide.size, (slide.mpp.x, slide.mpp.y), strict=True))
    wanted = max(max(width, height) / LONGEST, slide.mpp.x, slide.mpp.y)
    if max(thumbnail.shape) >= _ENOUGH:
        return thumbnail
    downsample = slide.level_downsample(wanted)
    source: Source
    if slide.size[0] * slide.size[1] / downsample**2 <= _CHEAP:
        # Of whole pixels of the level, which is quick.
        source, um = slide, max(1, int(wanted / slide.mpp.x / downsample)) * downsample * slide.mpp.x
    else:
        source, um = copy, READ_UM
    try:
        return source.read(0, 0, max(1, round(width / um)), max(1, round(height / um)), um)
    except SlideError:
        # A part of it cannot be decoded; what was seen of the rest is there already.
        return thumbnail
