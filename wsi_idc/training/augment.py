"""Augmentation of patches that keeps the label: the eight symmetries of the square and stain jitter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.color import hed_from_rgb, rgb_from_hed

_OPTICAL_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)


def symmetry(array: np.ndarray, code: int, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
    """Apply symmetry `code` (0 to 7) of the square in the plane of `axes`: quarter turns, then for 4 to 7 a flip."""
    turned = np.rot90(array, code % 4, axes=axes)
    return np.flip(turned, axes[1]) if code >= 4 else turned


def symmetries(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn and flip each patch of (n, s, s, 3) by one of the eight symmetries of the square, drawn evenly."""
    out = np.empty_like(pixels)
    turn = rng.integers(0, 8, len(pixels))
    for code in range(8):
        rows = turn == code
        out[rows] = symmetry(pixels[rows], code, axes=(1, 2))
    return out


@dataclass(frozen=True, slots=True)
class StainChange:
    """Factors and offsets (n, 3) of haematoxylin, eosin and residual for n patches, in natural optical density."""

    factor: np.ndarray
    offset: np.ndarray

    @classmethod
    def draw(cls, n: int, rng: np.random.Generator, scale: float = 0.25, shift: float = 0.04) -> StainChange:
        """Draw n changes evenly: factors within `scale` of 1, offsets within `shift` of 0."""
        factor, offset = rng.uniform(1 - scale, 1 + scale, (n, 3)), rng.uniform(-shift, shift, (n, 3))
        return cls(factor.astype(np.float32), offset.astype(np.float32))

    def take(self, rows: np.ndarray) -> StainChange:
        """Select changes by row."""
        return StainChange(self.factor[rows], self.offset[rows])


def change_stain(pixels: np.ndarray, change: StainChange) -> np.ndarray:
    """Apply a stain change to each patch of (n, s, s, 3) uint8 (Tellez et al. 2018)."""
    to_hed, to_rgb = hed_from_rgb.astype(np.float32), rgb_from_hed.astype(np.float32)
    # RGB density -> stains -> scaled -> RGB density is one 3x3 matrix a patch.
    mix = np.einsum("ij,nj,jk->nik", to_hed, change.factor, to_rgb)
    density = _OPTICAL_DENSITY[pixels].reshape(len(pixels), -1, 3) @ mix + (change.offset @ to_rgb)[:, None, :]
    return np.clip(256 * np.exp(-density) - 1, 0, 255).round().astype(np.uint8).reshape(pixels.shape)


def augment(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply every augmentation that the shipped model was trained with to (n, s, s, 3) uint8 patches."""
    return change_stain(symmetries(pixels, rng), StainChange.draw(len(pixels), rng))
