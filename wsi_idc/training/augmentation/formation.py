"""Formation augmentation: the same tissue as another scanner, pyramid, codec or reader would have given it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsi_idc.base.formation import KERNELS, SUBSAMPLINGS, add_noise, blur, compress, resample, retone, sharpen

if TYPE_CHECKING:
    from wsi_idc.training.config import FormationConfig

# A window may be larger than the patch by a tenth on each side, and half a pixel off; beyond it pixels are mirrored.
_RIM = 4
_KERNELS = tuple(KERNELS)
# Nearest neighbours are rare in readers of slides.
_KERNEL_SHARES = (0.08, 0.23, 0.23, 0.23, 0.23)


@dataclass(frozen=True, slots=True)
class Formation:
    """How the pixels of a patch, or of all patches of a section, come about; what is None does not happen.

    In this order: a `window` (factor of the side, shift in x and y in pixels) is resampled by `kernel`; all is brought
    to `through` pixels a side and back; blurred by a Gaussian of `blur` pixels or sharpened by `sharpen` (amount,
    pixels); given another `tone` (gamma, gains of red, green and blue, saturation); `noise` in grey values is added;
    and it is compressed as `jpeg` (quality, subsampling).
    """

    window: tuple[float, float, float] | None = None
    kernel: str = "bicubic"
    through: int | None = None
    blur: float | None = None
    sharpen: tuple[float, float] | None = None
    tone: tuple[float, tuple[float, float, float], float] | None = None
    noise: float | None = None
    jpeg: tuple[int, str] | None = None

    @classmethod
    def draw(cls, config: FormationConfig, side: int, rng: np.random.Generator) -> Formation:
        """Draw one for patches of `side` pixels; a share of 1 - `config.share` stays as it is."""
        if rng.random() >= config.share:
            return cls()
        kernel = _KERNELS[rng.choice(len(_KERNELS), p=_KERNEL_SHARES)]
        window = through = softer = sharper = tone = noise = jpeg = None
        if rng.random() < config.resample:
            factor = np.exp(rng.uniform(-1, 1) * np.log1p(config.scale))
            window = (float(factor), float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.5, 0.5)))
        if rng.random() < config.coarser:
            through = int(rng.integers(round(0.62 * side), side))
        focus = rng.random()
        if focus < config.blur:
            softer = float(rng.uniform(0, config.blur_px))
        elif focus < config.blur + config.sharpen:
            sharper = (float(rng.uniform(0, config.sharpen_amount)), float(rng.uniform(0.5, 1.5)))
        if rng.random() < config.tone:
            gamma = float(np.exp(rng.uniform(-1, 1) * np.log1p(config.gamma)))
            gains = rng.uniform(1 - config.gain, 1 + 0.7 * config.gain) * rng.uniform(
                1 - config.white_point, 1 + config.white_point, 3
            )
            tone = (gamma, tuple(gains.tolist()), float(rng.uniform(1 - config.saturation, 1 + config.saturation)))
        if rng.random() < config.noise:
            noise = float(rng.uniform(0, config.noise_grey))
        if rng.random() < config.jpeg:
            # Most scanners subsample colour by two in both directions.
            subsampling = (*SUBSAMPLINGS, "4:2:0")[rng.integers(len(SUBSAMPLINGS) + 1)]
            jpeg = (int(rng.integers(config.jpeg_quality, 98)), subsampling)
        return cls(window, kernel, through, softer, sharper, tone, noise, jpeg)

    def apply(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Form a patch (s, s, 3) uint8 anew; `rng` draws the noise."""
        side = len(pixels)
        if self.window:
            factor, x, y = self.window
            rim, half, middle = min(_RIM, side - 1), side * factor / 2, side / 2
            padded = np.pad(pixels, ((rim, rim), (rim, rim), (0, 0)), mode="reflect")
            left, top = (max(rim + middle + shift - half, 0) for shift in (x, y))
            right, bottom = (min(rim + middle + shift + half, side + 2 * rim) for shift in (x, y))
            pixels = resample(padded, (side, side), self.kernel, (left, top, right, bottom))
        if self.through:
            pixels = resample(
                resample(pixels, (self.through, self.through), "area"), (side, side), _smooth(self.kernel)
            )
        if self.blur:
            pixels = blur(pixels, self.blur)
        if self.sharpen:
            pixels = sharpen(pixels, *self.sharpen)
        if self.tone:
            gamma, gains, saturation = self.tone
            pixels = retone(pixels, gamma, np.array(gains), saturation)
        if self.noise:
            pixels = add_noise(pixels, self.noise, rng)
        return compress(pixels, *self.jpeg) if self.jpeg else pixels


def _smooth(kernel: str) -> str:
    """Of kernels that enlarge, those that blocks of whole pixels do not come out of."""
    return kernel if kernel in ("bilinear", "bicubic", "lanczos") else "bilinear"


def reform(pixels: np.ndarray, config: FormationConfig, rng: np.random.Generator) -> np.ndarray:
    """Form each patch of (n, s, s, 3) uint8 anew, each in its own way."""
    side = pixels.shape[1]
    return np.stack([Formation.draw(config, side, rng).apply(patch, rng) for patch in pixels])
