"""Probabilities of single patches and small images, without a slide around them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from wsi_idc.autotune import choose_engine, make_engine
from wsi_idc.errors import DataError
from wsi_idc.inference import Predictor
from wsi_idc.models.package import ModelPackage

WHITE = 255


def predict_images(
    images: Sequence[Path], package: ModelPackage, engine: str = "auto", threshold: float | None = None
) -> tuple[list[dict[str, Any]], list[DataError]]:
    """Predict each image on its own; its pixels must be at the model's scale.

    An image larger than a patch is cut into a grid of patches, what is left at its right and lower border filled with
    white. Returns a row for each readable image (image, probability: the mean over its patches, max_probability, idc,
    patches) and an error for each of the others.
    """
    name = choose_engine(engine, package, len(images))
    predictor = Predictor(package, make_engine(name, package))
    threshold = package.threshold if threshold is None else threshold
    rows: list[dict[str, Any]] = []
    errors: list[DataError] = []
    for path in images:
        try:
            pixels = _read(path, package.patch_size)
        except DataError as error:
            errors.append(error)
            continue
        size = package.patch_size
        present = np.ones((pixels.shape[0] // size, pixels.shape[1] // size), bool)
        values = predictor.block(pixels, present)
        mean = float(values.mean(dtype=np.float64))
        rows.append(
            {
                "image": str(path),
                "probability": round(mean, 6),
                "max_probability": round(float(values.max()), 6),
                "idc": mean >= threshold,
                "patches": values.size,
            }
        )
    return rows, errors


def _read(path: Path, size: int) -> np.ndarray:
    """Read an image as (h, w, 3) uint8 with sides filled up to whole patches."""
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path) as image:
            if image.width * image.height > 64e6:
                raise DataError(f"{path}: {image.width} x {image.height} is too large for predict; use segment")
            pixels = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "not an image that Pillow can read"
        raise DataError(f"{path}: {reason}") from error
    fill = [(0, -side % size) for side in pixels.shape[:2]]
    return np.pad(pixels, [*fill, (0, 0)], constant_values=WHITE)
