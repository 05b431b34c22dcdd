"""Augmentation of patches that keeps the label: the eight symmetries of the square and stain jitter."""

from __future__ import annotations

import numpy as np
from skimage.color import hed_from_rgb, rgb_from_hed

_OPTICAL_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)


def symmetries(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn and flip each patch of (n, s, s, 3) by one of the eight symmetries of the square, drawn evenly."""
    out = np.empty_like(pixels)
    turn = rng.integers(0, 8, len(pixels))
    for code in range(8):
        rows = turn == code
        turned = np.rot90(pixels[rows], code % 4, axes=(1, 2))
        out[rows] = turned[:, :, ::-1] if code >= 4 else turned
    return out


def stain_jitter(pixels: np.ndarray, rng: np.random.Generator, scale: float = 0.25, shift: float = 0.04) -> np.ndarray:
    """Scale and shift haematoxylin, eosin and residual of each patch in optical density (Tellez et al. 2018).

    Takes and gives (n, s, s, 3) uint8. `scale` and `shift` are half-widths of uniform draws per patch and stain;
    shifts are in optical density (natural logarithm).
    """
    to_hed, to_rgb = hed_from_rgb.astype(np.float32), rgb_from_hed.astype(np.float32)
    n = len(pixels)
    factor = rng.uniform(1 - scale, 1 + scale, (n, 3)).astype(np.float32)
    offset = rng.uniform(-shift, shift, (n, 3)).astype(np.float32)
    # RGB density -> stains -> scaled -> RGB density is one 3x3 matrix a patch.
    mix = np.einsum("ij,nj,jk->nik", to_hed, factor, to_rgb)
    density = _OPTICAL_DENSITY[pixels].reshape(n, -1, 3) @ mix + (offset @ to_rgb)[:, None, :]
    return np.clip(256 * np.exp(-density) - 1, 0, 255).round().astype(np.uint8).reshape(pixels.shape)


def augment(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply every augmentation that the shipped model was trained with to (n, s, s, 3) uint8 patches."""
    return stain_jitter(symmetries(pixels, rng), rng)
