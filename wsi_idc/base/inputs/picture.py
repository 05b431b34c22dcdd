"""Pictures that others made, decoded within bounds."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from wsi_idc.base.inputs.bounded import open_regular

# Pixels of 8-bit colours, as Pillow names them.
_COLOURS = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
# What pictures of tissue come as. Pillow knows many more, some of which start another program.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM", "AVIF")


def read_picture(path: Path, most: int, modes: Collection[str] = ()) -> Image.Image:
    """Decode a picture of at most `most` pixels, in one of Pillow's `modes` where they are given.

    Raises OSError where the file cannot be read, ValueError, which says in a phrase what is wrong, where it is no
    picture, a damaged one, a larger one, or one of another mode; before it is decoded where its header tells.
    """
    with _opened(path) as image:
        size, mode = image.size, image.mode
        if fits := size[0] * size[1] <= most and (not modes or mode in modes):
            image.load()
    if fits:
        return image
    if size[0] * size[1] > most:
        raise ValueError(f"{size[0]} x {size[1]} pixels are too large")
    raise ValueError(f"its pixels are {mode}, not 8-bit colour; export it as RGB")


def read_rgb(path: Path, most: int) -> np.ndarray:
    """Decode a picture of 8-bit colours as (h, w, 3) uint8, white where it is transparent; raises as `read_picture`.

    It is turned as it is to be shown: a camera stores how it was held.
    """
    image = ImageOps.exif_transpose(read_picture(path, most, _COLOURS))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(image.convert("RGB"))


def picture_facts(path: Path) -> dict[str, Any]:
    """Return what a picture says of itself, as Pillow names it, without decoding it; raises as `read_picture`."""
    with _opened(path) as image:
        return {str(name): value for name, value in image.info.items()}


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with open_regular(path) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            Image.init()
            yield Image.open(stream, formats=[name for name in _FORMATS if name in Image.OPEN])
        except Exception as error:
            # Each decoder has errors of its own, and some memory that a header asks for is not there.
            raise ValueError("not an image that Pillow can read") from error
