"""How an image of tissue comes about, step by step: optics, sensor, resampling and codec, as functions of pixels.

Every function takes (h, w, 3) uint8 RGB and gives the same size and type, but for `resample`.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d

KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SUBSAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def compress(pixels: np.ndarray, quality: int, subsampling: str = "4:2:0") -> np.ndarray:
    """Write as JPEG of a `quality` (1 to 100) and read again; `subsampling` of colour is 4:4:4, 4:2:2 or 4:2:0."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=SUBSAMPLINGS[subsampling])
    return np.asarray(Image.open(stream))


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    for axis in (0, 1):
        values = gaussian_filter1d(values, sigma, axis=axis, mode="reflect", truncate=3.0)
    return values


def blur(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Blur by a Gaussian of `sigma` pixels."""
    return _bytes(_blurred(pixels.astype(np.float32), sigma)) if sigma > 0 else pixels


def sharpen(pixels: np.ndarray, amount: float, sigma: float = 1.0) -> np.ndarray:
    """Add `amount` times what a blur of `sigma` pixels takes away (an unsharp mask)."""
    values = pixels.astype(np.float32)
    return _bytes(values + amount * (values - _blurred(values, sigma)))


def retone(
    pixels: np.ndarray, gamma: float = 1.0, gain: float | np.ndarray = 1.0, saturation: float = 1.0
) -> np.ndarray:
    """Change the colours: a power of `gamma`, then factors `gain` (one, or one a channel), then saturation."""
    values = np.power(np.arange(256, dtype=np.float32) / 255, gamma)[pixels] * 255 * np.asarray(gain, np.float32)
    if saturation != 1:
        grey = (values @ _LUMA)[..., None]
        values = grey + saturation * (values - grey)
    return _bytes(values)


def add_noise(pixels: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add normal noise of deviation `sigma` grey values, drawn for each value."""
    return _bytes(pixels + sigma * rng.standard_normal(pixels.shape, np.float32))


def resample(
    pixels: np.ndarray, size: tuple[int, int], kernel: str, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Resample to `size` (width, height) with a kernel of `KERNELS`, from `box` (left, top, right, bottom), or all."""
    return np.asarray(Image.fromarray(pixels).resize(size, KERNELS[kernel], box=box))
