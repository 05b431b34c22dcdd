"""The fixed set of perturbations under which models are measured: the same tissue, its pixels come about otherwise.

A name stands for one change, whatever the version of the tool; `SET_VERSION` goes up when any of them changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from skimage.color import hed_from_rgb, rgb_from_hed

from wsi_idc.base.formation import add_noise, blur, compress, resample, retone, sharpen
from wsi_idc.base.optical_density import natural_density, pixels_of

SET_VERSION = 1

# Takes and gives (h, w, 3) uint8 RGB of the same size; draws what is random.
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]

# The scale of the patches; finer ones are made by enlarging them with Lanczos before a kernel reduces them again.
_MPP = 4.0
_TILE = 256
_RIM = 4
# What the ICC profiles of two scanners do to colours in linear light, beside sRGB: a sensor with wider primaries, and
# one whose blue is weak. The matrices are typical, not those of a product.
_SENSORS = {
    "wide": np.array([[1.12, -0.09, -0.03], [-0.05, 1.08, -0.03], [-0.01, -0.10, 1.11]]),
    "warm": np.array([[0.98, 0.03, 0.00], [0.02, 0.95, 0.02], [0.00, 0.07, 0.86]]),
}


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A change of pixels by name; `whole` is made to a section as one image, others to each patch by itself."""

    name: str
    change: Change
    whole: bool = False

    def patches(self, pixels: np.ndarray) -> np.ndarray:
        """Change patches (n, s, s, 3) uint8, each by itself; what is random is the same every time."""
        rng = np.random.default_rng(0)
        return np.stack([self.change(patch, rng) for patch in pixels])

    def section(self, image: np.ndarray) -> np.ndarray:
        """Change a section (h, w, 3) uint8 as one image."""
        return self.change(image, np.random.default_rng(0))


def _fixed(function: Callable[..., np.ndarray], *args: object, **named: object) -> Change:
    return lambda pixels, rng: function(pixels, *args, **named)


def _noise(sigma: float) -> Change:
    return lambda pixels, rng: add_noise(pixels, sigma, rng)


def _tiles(pixels: np.ndarray, quality: int, subsampling: str) -> np.ndarray:
    """Compress as a tiled TIFF does: each tile of 256 pixels is a JPEG of its own, filled up with white."""
    height, width = pixels.shape[:2]
    out = np.empty_like(pixels)
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            part = pixels[top : top + _TILE, left : left + _TILE]
            tile = np.full((_TILE, _TILE, 3), 255, np.uint8)
            tile[: part.shape[0], : part.shape[1]] = part
            found = compress(tile, quality, subsampling)
            out[top : top + _TILE, left : left + _TILE] = found[: part.shape[0], : part.shape[1]]
    return out


def _rescaled(pixels: np.ndarray, factor: float, kernel: str = "bicubic") -> np.ndarray:
    """See the middle of a patch `factor` times larger, or more than it smaller; what lies beyond is mirrored."""
    height, width = pixels.shape[:2]
    rim = int(np.ceil(max(height, width) * max(0.0, 1 / factor - 1) / 2)) + 1
    padded = np.pad(pixels, ((rim, rim), (rim, rim), (0, 0)), mode="reflect")
    x, y = rim + width / 2, rim + height / 2
    half_x, half_y = width / factor / 2, height / factor / 2
    return resample(padded, (width, height), kernel, (x - half_x, y - half_y, x + half_x, y + half_y))


def _from_scale(pixels: np.ndarray, mpp: float, kernel: str) -> np.ndarray:
    """Bring to a finer scale by Lanczos, as though scanned there, and reduce with `kernel`."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((_RIM, _RIM), (_RIM, _RIM), (0, 0)), mode="reflect")
    factor = _MPP / mpp
    fine = resample(padded, (round(padded.shape[1] * factor), round(padded.shape[0] * factor)), "lanczos")
    box = (_RIM * factor, _RIM * factor, (_RIM + width) * factor, (_RIM + height) * factor)
    return resample(fine, (width, height), kernel, box)


def _stained(pixels: np.ndarray, haematoxylin: float, eosin: float) -> np.ndarray:
    """Multiply the density of each stain (Ruifrok and Johnston 2001)."""
    mix = hed_from_rgb @ np.diag([haematoxylin, eosin, 1.0]) @ rgb_from_hed
    density = natural_density(pixels) @ mix.astype(np.float32)
    return pixels_of(density)


def _sensed(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    linear = np.power(np.arange(256) / 255, 2.2)[pixels] @ matrix.T
    return np.rint(255 * np.power(np.clip(linear, 0, 1), 1 / 2.2)).astype(np.uint8)


def _all() -> list[Perturbation]:
    found: list[Perturbation] = []

    def add(name: str, change: Change, whole: bool = False) -> None:
        found.append(Perturbation(name, change, whole))

    for quality in (30, 50, 70, 80, 92, 95):
        for subsampling in ("4:4:4", "4:2:0"):
            short = f"{quality}-{subsampling.replace(':', '')}"
            add(f"jpeg-{short}", _fixed(compress, quality, subsampling))
            add(f"section-jpeg-{short}", _fixed(_tiles, quality, subsampling), whole=True)
    for sigma in (0.3, 0.5, 0.8, 1.2):
        add(f"blur-{sigma:g}", _fixed(blur, sigma))
        add(f"section-blur-{sigma:g}", _fixed(blur, sigma), whole=True)
    for amount in (0.6, 1.2):
        add(f"sharpen-{amount:g}", _fixed(sharpen, amount))
        add(f"section-sharpen-{amount:g}", _fixed(sharpen, amount), whole=True)
    for mpp in (0.25, 0.5, 1.0, 2.0, 3.74):
        for kernel in ("area", "bilinear", "bicubic", "lanczos", "nearest"):
            add(f"from-{mpp:g}-{kernel}", _fixed(_from_scale, mpp, kernel))
    for percent in (-10, -8, 8, 10):
        add(f"scale{percent:+d}%", _fixed(_rescaled, 1 + percent / 100))
    for factor in (0.7, 1.3):
        add(f"haematoxylin-{factor:g}", _fixed(_stained, factor, 1.0))
        add(f"eosin-{factor:g}", _fixed(_stained, 1.0, factor))
    tones: dict[str, dict[str, object]] = {
        "gamma-0.8": {"gamma": 0.8},
        "gamma-1.25": {"gamma": 1.25},
        "brightness-0.9": {"gain": 0.9},
        "brightness-1.1": {"gain": 1.1},
        "saturation-0.7": {"saturation": 0.7},
        "saturation-1.3": {"saturation": 1.3},
        "white-bluish": {"gain": np.array([0.93, 0.97, 1.0])},
        "white-yellowish": {"gain": np.array([1.0, 0.98, 0.9])},
    }
    for name, tone in tones.items():
        add(name, _fixed(retone, **tone))
    for sigma in (4, 8):
        add(f"noise-{sigma}", _noise(sigma))
    for name, matrix in _SENSORS.items():
        add(f"icc-{name}", _fixed(_sensed, matrix))
    return found


PERTURBATIONS: dict[str, Perturbation] = {p.name: p for p in _all()}
# Shares of the IDC patches of each section that are left, the others taken out.
PREVALENCES = (0.0, 0.05, 0.5, 0.9)
