"""Whether tissue has the colours of H&E: hue and strength of its stain beside those of the training slides."""

from __future__ import annotations

import numpy as np

from wsi_idc.base.optical_density import optical_density
from wsi_idc.tissue.light import Light, glass_colour, some

# Stain is measured where green light is absorbed by at least this much (optical density, log10), at 8 um/px.
_STAINED = 0.06
# Fewer stained pixels than this tell nothing.
_FEWEST = 300
# What follows was measured on the patches of 231 patients of the IDC set (82 train, 29 val, 119 not listed, 1 test),
# averaged to 8 um/px, over the glass of each patient; two of these patients would be warned of, for faint stain. r, g
# and b are the optical densities of red, green and blue.
#
# Median of g: 0.125 to 0.44, below 0.131 in 1 % of the patients.
_FAINT = 0.13
# Mean r / mean g: 0.16 to 0.56.
_BLUEST = 0.75
# Share of pixels with b > 1.05 g (brown; g above 0.1): at most 0.08, in 99 % of the patients below 0.045.
_BROWN_RATIO, _BROWN_LEAST, _BROWN_SHARE = 1.05, 0.1, 0.10
# The lowest tenth of r / g, pixels of eosin, is 0.06 to 0.32, and that of b / g is 0.45 to 0.64: the other way round
# where red and blue are swapped.
_EOSIN = 0.38
# (Largest - smallest of r, g, b) / largest, on average: 0.50 to 0.84.
_GREY = 0.15
# Hues that count as H&E when a picture is inverted: mean r / g, and mean b / g (0.50 to 0.80 in the patients).
_HUES = (0.1, _BLUEST), (0.4, 0.95)

# The darkest glass of a negative that is told.
_DARKEST_GLASS = 150

DARK = "no bright background: not a brightfield H&E slide, nothing was looked at"
INVERTED = "inverted: dark where glass would be, and H&E as a negative, nothing was looked at, invert its colours"
GREYSCALE = "greyscale: the tissue has no colour: not H&E in RGB, and the model cannot judge it"
CAST = "the palest parts are coloured, not white: check the colours of the file before trusting the result"
SWAPPED = "red and blue channels look swapped: the result means nothing before the file's colours are put right"
BROWN = "brown stain: looks like DAB immunohistochemistry, not H&E, the model cannot judge it"
BLUE = "blue stain, hardly any eosin: unlike the H&E of the training slides, immunohistochemistry without DAB looks so"
PALE = "faint stain: paler than in 99 % of the training patients, less may be found than there is"

# Where the colours are of these kinds, dark and blue parts are no sign of anything else.
UNLIKE_STAIN = frozenset({GREYSCALE, CAST, SWAPPED, BROWN, BLUE})


def stain_doubts(thumbnail: np.ndarray, mask: np.ndarray, unreadable: np.ndarray, light: Light) -> tuple[str, ...]:
    """Warn of colours that H&E does not have; of the tissue `mask` (h, w) on `thumbnail` (h, w, 3) uint8 at 8 um/px."""
    densities = _densities_of(thumbnail, mask, light)
    stained = densities[densities[:, 1] > _STAINED]
    if len(stained) >= _FEWEST:
        most = np.maximum.reduce([*stained.T])
        if (most - np.minimum.reduce([*stained.T])).sum() < _GREY * most.sum():
            return (GREYSCALE,)
    unknown = unreadable if light.padding is None else unreadable | light.padding
    pixels = some(thumbnail[~unknown] if unknown.any() else thumbnail.reshape(-1, 3))
    brightness = np.add.reduce([*pixels.T], dtype=np.uint16)
    if len(pixels):
        palest = np.median(pixels[brightness >= np.percentile(brightness, 95)], axis=0)
        if palest.max() - palest.min() > 60:
            return (CAST,)
    return _hue_doubts(stained) if len(stained) >= _FEWEST else ()


def _densities_of(thumbnail: np.ndarray, mask: np.ndarray, light: Light) -> np.ndarray:
    """Return the optical densities of some of the tissue over the glass beside it, (n, 3) float32."""
    assert light.glass is not None
    step = max(thumbnail.shape) // 1000 + 1
    rows, columns = (np.arange(0, n, step) for n in mask.shape)
    tissue = mask[::step, ::step]
    table = light.densities()
    found = [
        (table[c][thumbnail[::step, ::step, c]] - excess)[tissue]
        for c, excess in enumerate(light.excess(rows, columns))
    ]
    outshone = 0.0 if light.seen is None else optical_density(light.seen, light.glass)
    return np.stack(found, 1) - outshone


def _hue_doubts(stained: np.ndarray) -> tuple[str, ...]:
    red, green, blue = stained.T
    doubts: list[str] = []
    if np.percentile(blue / green, 10) < _EOSIN < np.percentile(red / green, 10):
        doubts.append(SWAPPED)
    elif ((blue > _BROWN_RATIO * green) & (green > _BROWN_LEAST)).mean() > _BROWN_SHARE:
        doubts.append(BROWN)
    elif red.sum() > _BLUEST * green.sum():
        doubts.append(BLUE)
    if np.median(green) < _FAINT:
        doubts.append(PALE)
    return tuple(doubts)


def dark_doubts(thumbnail: np.ndarray) -> tuple[str, ...]:
    """Say of a slide without bright glass (h, w, 3) uint8 whether it is the negative of one that has it."""
    negative = 255 - some(thumbnail.reshape(-1, 3))
    glass = glass_colour(negative)
    if glass is None or glass.min() < _DARKEST_GLASS:
        return (DARK,)
    densities = optical_density(negative.astype(np.float32), glass.astype(np.float32))
    stained = densities[densities[:, 1] > _STAINED]
    if len(stained) < _FEWEST:
        return (DARK,)
    red, green, blue = stained.sum(0)
    # What is dim all over is no negative: its stain would be faint.
    bright = np.median(stained[:, 1]) > _FAINT
    fits = [low < v / green < high for v, (low, high) in zip((red, blue), _HUES, strict=True)]
    return (INVERTED,) if bright and all(fits) else (DARK,)
