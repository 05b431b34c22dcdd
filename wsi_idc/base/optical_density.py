"""Optical density: how much light a pixel holds back. One grey value is added to all, so that black is finite too."""

from __future__ import annotations

from typing import Any

import numpy as np


def optical_density(values: Any, light: Any) -> np.ndarray:
    """Return the decadic optical density of grey values (0 to 255) over those of the `light` without tissue.

    Both are arrays, or numbers, that broadcast. What is brighter than the light is below 0.
    """
    return np.asarray(-np.log10((values + 1) / (light + 1)))


def natural_density(pixels: np.ndarray) -> np.ndarray:
    """Return the optical density of uint8 values over white, as natural logarithm, in float32."""
    return -np.log((pixels.astype(np.float32) + 1) / 256)


def pixels_of(density: np.ndarray) -> np.ndarray:
    """Return the uint8 values of which `natural_density` gives these, rounded and kept within 0 to 255."""
    return np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255).astype(np.uint8)
