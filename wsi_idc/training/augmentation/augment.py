"""Augmentation of patches that keeps the label: symmetries, small affine maps, colour, and stain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from skimage.color import hed_from_rgb, rgb_from_hed

from wsi_idc.base.optical_density import natural_density, pixels_of
from wsi_idc.inference.symmetry import symmetry

if TYPE_CHECKING:
    from wsi_idc.training.config import AugmentConfig

_OPTICAL_DENSITY = natural_density(np.arange(256))
# From here on torchstain takes a pixel for glass: density 0.15 under light of 240.
_PALE = 206


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
    """A linear map of the optical density of n patches: density @ `mix` (n, 3, 3) + `offset` (n, 3), natural logs."""

    mix: np.ndarray
    offset: np.ndarray

    @classmethod
    def draw(cls, n: int, rng: np.random.Generator, scale: float = 0.25, shift: float = 0.04) -> StainChange:
        """Draw n changes evenly: factors of haematoxylin, eosin and residual within `scale` of 1, offsets of each
        within `shift` of 0 (Tellez et al. 2018)."""
        factor, offset = rng.uniform(1 - scale, 1 + scale, (n, 3)), rng.uniform(-shift, shift, (n, 3))
        # RGB density -> stains -> scaled -> RGB density is one 3x3 matrix a patch.
        mix = np.einsum("ij,nj,jk->nik", hed_from_rgb, factor, rgb_from_hed)
        return cls(mix.astype(np.float32), (offset @ rgb_from_hed).astype(np.float32))

    def take(self, rows: np.ndarray) -> StainChange:
        """Select changes by row."""
        return StainChange(self.mix[rows], self.offset[rows])


def change_stain(pixels: np.ndarray, change: StainChange) -> np.ndarray:
    """Apply a stain change to each patch of (n, s, s, 3) uint8."""
    density = _OPTICAL_DENSITY[pixels].reshape(len(pixels), -1, 3) @ change.mix + change.offset[:, None, :]
    return pixels_of(density).reshape(pixels.shape)


@dataclass(frozen=True, slots=True)
class Stains:
    """Haematoxylin and eosin of a patient: their colours (3, 2) in optical density, and their strengths (2,)."""

    colours: np.ndarray
    strengths: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray) -> Stains | None:
        """Estimate from patches (n, s, s, 3) uint8 of one patient (Macenko et al. 2009).

        None where less than 1000 pixels are stained, or two stains cannot be told apart.
        """
        from torchstain.base.normalizers import MacenkoNormalizer

        if (pixels.max(axis=-1) < _PALE).sum() < 1000:
            return None
        normalizer = MacenkoNormalizer(backend="numpy")
        normalizer.fit(pixels.reshape(1, -1, 3))
        colours, strengths = normalizer.HERef, normalizer.maxCRef
        apart = np.linalg.cond(colours) < 50 and (strengths > 0.05).all()
        return cls(colours, strengths) if apart else None

    def to(self, other: Stains) -> np.ndarray:
        """Return the map (3, 3) of optical densities that gives tissue with these stains those of `other`.

        What is neither stain (the residual) stays as it is.
        """
        unmix = np.linalg.pinv(self.colours)
        residual = np.eye(3) - self.colours @ unmix
        return (other.colours @ np.diag(other.strengths / self.strengths) @ unmix + residual).T.astype(np.float32)


def _affine(pixels: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Rotate, shear, zoom and shift each patch about its centre; what comes in at the edges is mirrored."""
    import keras

    n, size = pixels.shape[:2]
    turn, shear = (np.deg2rad(rng.uniform(-a, a, n)) for a in (config.rotation, config.shear))
    zoom_x, zoom_y = np.exp(rng.uniform(-1, 1, (2, n)) * np.log1p(config.zoom))
    shift = rng.uniform(-config.shift, config.shift, (2, n)) * size
    cos, sin = np.cos(turn), np.sin(turn)
    a, b = zoom_x * cos, zoom_y * (cos * np.tan(shear) - sin)
    c, d = zoom_x * sin, zoom_y * (sin * np.tan(shear) + cos)
    middle = (size - 1) / 2
    x, y = middle * (1 - a - b) + shift[0], middle * (1 - c - d) + shift[1]
    # Output (x, y) comes from input (a x + b y + x0, c x + d y + y0).
    maps = np.stack([a, b, x, c, d, y, np.zeros(n), np.zeros(n)], axis=1).astype(np.float32)
    moved = keras.ops.image.affine_transform(
        pixels.astype(np.float32), maps, fill_mode="reflect", data_format="channels_last"
    )
    return np.clip(np.rint(keras.ops.convert_to_numpy(moved)), 0, 255).astype(np.uint8)


def _colour(pixels: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Change brightness and contrast, about each patch's own mean."""
    n = len(pixels)
    factor = rng.uniform(1 - config.contrast, 1 + config.contrast, (n, 1, 1, 1)).astype(np.float32)
    offset = 255 * rng.uniform(-config.brightness, config.brightness, (n, 1, 1, 1)).astype(np.float32)
    mean = pixels.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    return np.clip(np.rint((pixels - mean) * factor + mean + offset), 0, 255).astype(np.uint8)


def augment(
    pixels: np.ndarray,
    config: AugmentConfig,
    rng: np.random.Generator,
    patients: np.ndarray | None = None,
    stains: Mapping[str, Stains] | None = None,
) -> np.ndarray:
    """Change (n, s, s, 3) uint8 patches as `config` says.

    For `config.macenko`, `patients` (n,) and the `stains` of patients are needed: a share of the patches is given the
    stains of another patient.
    """
    if config.symmetries:
        pixels = symmetries(pixels, rng)
    if config.rotation or config.zoom or config.shift or config.shear:
        pixels = _affine(pixels, config, rng)
    if config.brightness or config.contrast:
        pixels = _colour(pixels, config, rng)
    change = StainChange.draw(len(pixels), rng, config.stain_scale, config.stain_shift)
    if config.macenko and patients is not None and stains:
        names = sorted(stains)
        for row in np.flatnonzero(rng.random(len(pixels)) < config.macenko):
            other = stains[names[rng.integers(len(names))]]
            if own := stains.get(patients[row]):
                change.mix[row] = own.to(other) @ change.mix[row]
    if config.stain_scale or config.stain_shift or config.macenko:
        pixels = change_stain(pixels, change)
    return pixels
