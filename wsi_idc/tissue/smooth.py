"""Parts without texture in what was taken for tissue: pen ink of a hue that blood or nuclei have, too."""

from __future__ import annotations

import numpy as np

from wsi_idc.tissue.bands import Bands, window_means, without_small
from wsi_idc.tissue.light import Light

# Texture is judged in cells of this many pixels of the mask a side, 64 um, which hold some twenty nuclei. Bands are
# whole numbers of cells.
_CELL = 8
# Dark: the colour that is absorbed most is so by this much at least (optical density, log10), and varies by at most
# this share of it (standard deviation).
_DARK, _DARK_SMOOTH = 0.6, 0.07
# Blue: so much of red is absorbed, and at least this share of what is of green.
_BLUE, _BLUE_RATIO, _BLUE_SMOOTH = 0.2, 0.8, 0.15
# Cells of the smallest connected part that counts (0.033 mm2). Tissue, blood and folds of 666 pictures of real H&E
# sections were so in parts of at most 4.
_FEWEST = 8


def smooth_doubts(thumbnail: np.ndarray, mask: np.ndarray, light: Light, um: float, bands: Bands) -> tuple[str, ...]:
    """Warn of parts of the tissue `mask` (h, w) on `thumbnail` (h, w, 3) uint8, of `um` a pixel, that may be ink."""
    found = _smooth_cells(thumbnail, mask, light, bands)
    if np.count_nonzero(found) < _FEWEST:
        return ()
    cells = np.count_nonzero(without_small(found, _FEWEST - 1))
    area = cells * (_CELL * um / 1000) ** 2
    if not cells:
        return ()
    return (f"{area:.2f} mm2 of what was taken for tissue is without texture and dark or blue, as pen is: check it",)


def _smooth_cells(thumbnail: np.ndarray, mask: np.ndarray, light: Light, bands: Bands) -> np.ndarray:
    """Return the cells of tissue that are smooth, and dark or blue, (rows, columns) bool."""
    out = np.zeros([-(-n // _CELL) for n in mask.shape], bool)
    columns, densities = np.arange(mask.shape[1]), light.densities()

    def look(rows: slice) -> None:
        at = slice(rows.start // _CELL, -(-rows.stop // _CELL))
        whole = window_means(mask[rows], _CELL) == 1
        if not whole.any():
            return
        excess = light.excess(np.arange(rows.start, rows.stop), columns)
        colours = [densities[c][thumbnail[rows, :, c]] - excess[c] for c in range(3)]
        red, green = (window_means(colour, _CELL) for colour in colours[:2])
        most = np.maximum.reduce(colours)
        mean = window_means(most, _CELL)
        variance = window_means(most * most, _CELL) - mean * mean
        dark = (mean > _DARK) & (variance < (_DARK_SMOOTH * mean) ** 2)
        blue = (red > _BLUE) & (red > _BLUE_RATIO * green) & (variance < (_BLUE_SMOOTH * mean) ** 2)
        out[at] = whole & (dark | blue)

    bands.each(look)
    return out
