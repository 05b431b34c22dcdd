"""Probabilities of single patches and small images, without a slide around them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from wsi_idc.errors import DataError
from wsi_idc.inference.choose import choose_engine, make_engine
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import ModelPackage

WHITE = 255
_LARGEST = 64_000_000  # pixels


def predict_images(
    images: Sequence[Path], package: ModelPackage, engine: str = "auto", threshold: float | None = None
) -> tuple[list[dict[str, Any]], list[DataError]]:
    """Predict each image on its own; its pixels must be at the model's scale.

    An image larger than a patch is cut into a grid of patches; those at its right and lower border count where it
    covers at least half of them, filled up with white, as transparent pixels are. Returns a row for each readable image
    (image, probability: the mean over its patches, max_probability, idc, patches) and an error for each of the others,
    and for those of which the model gives no number.
    """
    name = choose_engine(engine, package, len(images))
    predictor = Predictor(package, make_engine(name, package))
    threshold = package.threshold if threshold is None else threshold
    rows: list[dict[str, Any]] = []
    errors: list[DataError] = []
    for path in images:
        try:
            pixels, present = _read(path, package.patch_size)
        except DataError as error:
            errors.append(error)
            continue
        values = predictor.block(pixels, present)[present]
        if lost := int(np.isnan(values).sum()):
            errors.append(DataError(f"{path}: {package.name} gives no number for {lost} of its {values.size} patches"))
            continue
        mean = float(values.mean(dtype=np.float64))
        rows.append(
            {
                "image": str(path),
                "probability": round(mean, 6),
                "max_probability": round(float(values.max()), 6),
                "idc": mean >= threshold,
                "patches": int(values.size),
            }
        )
    return rows, errors


def _read(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Read an image as (h, w, 3) uint8 with sides filled up to whole patches, and which of these count (r, c) bool.

    A patch counts where the image covers at least half of it; the first one always does.
    """
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if image.width * image.height > _LARGEST:
                raise DataError(f"{path}: {image.width} x {image.height} is too large for predict; use segment")
            if image.mode not in ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"):
                raise DataError(f"{path}: its pixels are {image.mode}, not 8-bit colour; export it as RGB")
            rgba = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB").convert("RGBA")
            pixels = np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "not an image that Pillow can read"
        raise DataError(f"{path}: {reason}") from error
    height, width = pixels.shape[:2]
    present = np.outer(_cover(height, size), _cover(width, size)) >= 0.5
    present[0, 0] = True
    fill = [(0, -side % size) for side in (height, width)]
    return np.pad(pixels, [*fill, (0, 0)], constant_values=WHITE), present


def _cover(side: int, size: int) -> np.ndarray:
    """Return the share of each of the patches along a side that lies inside it."""
    return np.minimum(1, (side - size * np.arange(-(-side // size))) / size)
