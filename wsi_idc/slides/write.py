"""Write pixels as a slide: a tiled pyramidal TIFF that OpenSlide and QuPath open."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi_idc.errors import OutputError


def write_slide(
    path: Path,
    pixels: NDArray[np.uint8],
    mpp: float | None,
    *,
    downsamples: Sequence[int] = (1, 4, 16),
    tile: int = 256,
    compression: str = "jpeg",
) -> Path:
    """Write pixels (h, w, 3) uint8 of `mpp` um as a tiled pyramidal TIFF that OpenSlide opens; return the path.

    Without `mpp` the file states no scale. Every level is the area average of the first one, cropped to whole blocks.
    `compression` is jpeg (stored as YCbCr), deflate or none. The same pixels give the same bytes.
    """
    if downsamples[0] != 1 or compression not in ("jpeg", "deflate", "none"):
        raise ValueError("the first downsample is 1, and the compression is jpeg, deflate or none")
    quality = {"level": 90} if compression == "jpeg" else {}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with tifffile.TiffWriter(part) as tiff:
            for d in downsamples:
                h, w = pixels.shape[0] // d, pixels.shape[1] // d
                blocks = pixels[: h * d, : w * d].reshape(h, d, w, d, 3)
                tiff.write(
                    pixels if d == 1 else np.rint(blocks.mean((1, 3), dtype=np.float32)).astype(np.uint8),
                    photometric="rgb",  # of the input: tifffile turns JPEG tiles into YCbCr by itself
                    compression=None if compression == "none" else compression,
                    compressionargs=quality,
                    tile=(tile, tile),
                    subfiletype=int(d > 1),
                    resolution=None if mpp is None else (1e4 / (mpp * d), 1e4 / (mpp * d)),
                    resolutionunit=None if mpp is None else "CENTIMETER",
                    metadata=None,
                    software=False,
                )
        part.replace(path)
    except OSError as e:
        raise OutputError(f"{path}: cannot write the slide: {e}") from e
    finally:
        part.unlink(missing_ok=True)
    return path
