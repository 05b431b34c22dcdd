"""The light that reaches the scanner through empty glass, place by place, and what of a slide was not scanned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from wsi_idc.base.optical_density import optical_density
from wsi_idc.tissue.bands import BAND, Bands, without_small

# Glass is looked for in cells of this many pixels of the mask a side, 64 um: more than the walls between fat cells
# leave free. Bands are whole numbers of cells.
_CELL = 8
# A cell is flat where green varies by at most this share of its mean (standard deviation), and half a level: noise of
# scanners is below 0.01 at 8 um/px, tissue in focus above 0.03.
_FLAT = 0.02
# Colours of glass, as log10 of red and blue over green: how far from grey bins reach, and how far from the commonest
# one glass may be. Eosin at the weakest density that counts as tissue is 0.03 away.
_REACH, _BIN, _SAME = 0.08, 0.005, 0.018
# Tissue has at least this much colour.
_COLOURED = 0.03
# The least brightness of glass, in its darkest corner and in general, of 255: below, a slide is not brightfield.
_DARKEST, DIM = 90, 120
# Cells of the smallest patch of glass that is believed (0.05 mm2; lumina of ducts and fat cells are smaller).
_PATCH = 12
# A small patch of glass whose light is so far (optical density) from that of the rest is something else.
_ODD, _SMALL_SHARE = 0.13, 0.05
# Glass within this density of one colour, in all but this share of its cells, is of that colour: below the density of
# pale tissue, also with noise.
_EVEN, _UNEVEN_SHARE = 0.038, 0.005
# White beside a rectangle that has less white than this share in it is padding, whatever the glass.
_FRAMED = 0.02
# Pixels as dark as this, in parts of so many pixels (0.02 mm2), are padding: ink lets more light through, unevenly.
_BLACK, _PADDED = 2, 312


@dataclass(frozen=True, slots=True)
class Light:
    """What empty glass looks like: `glass` is its colour (3,) float32, or None where the slide is not brightfield.

    `shift` is by how much glass is darker than that, as optical density (rows, columns, 3) float32 of cells of _CELL
    pixels, None where it is not. `padding` (h, w) bool was not scanned, None where all was. `told` says that glass was
    seen, not guessed; `seen` is then its middle colour, which white that a file is filled with may outshine.
    """

    glass: np.ndarray | None
    shift: np.ndarray | None
    padding: np.ndarray | None
    told: bool
    seen: np.ndarray | None = None

    def densities(self) -> np.ndarray:
        """Return the optical density over `glass` of each value of each colour, (3, 256) float32."""
        assert self.glass is not None
        return optical_density(np.arange(256), self.glass[:, None]).astype(np.float32)

    def excess(self, rows: np.ndarray, columns: np.ndarray) -> list[np.ndarray]:
        """Return what is to be taken off the densities of pixels in such rows and columns, of red, green and blue."""
        if self.shift is None:
            return [np.zeros((1, 1), np.float32)] * 3
        upper, lower, part = _between(rows, self.shift.shape[0])
        band = self.shift[upper] * (1 - part)[:, None, None] + self.shift[lower] * part[:, None, None]
        left, right, part = _between(columns, self.shift.shape[1])
        return [band[:, left, c] * (1 - part) + band[:, right, c] * part for c in range(3)]


def _between(pixels: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cells before and behind pixels, and how near the second is, float32 from 0 to 1."""
    at = np.clip((pixels + 0.5) / _CELL - 0.5, 0, cells - 1).astype(np.float32)
    first = at.astype(np.intp)
    return first, np.minimum(first + 1, cells - 1), at - first


def find_light(pixels: np.ndarray, unreadable: np.ndarray, background: tuple[int, int, int], bands: Bands) -> Light:
    """Find the colour of empty glass on a picture of a slide, (h, w, 3) uint8 at 8 um/px.

    Glass is what is flat, of one near grey colour and not small; not always the brightest: holes of tissue and what a
    file leaves out are white on many a slide. What is exactly white, or exactly `background`, was not scanned where
    tissue lies on glass of another colour; else it is glass. Where glass is of one colour, so it is taken; else it is
    told from the glass near by, as where light falls off, or where two sections were scanned apart.
    """
    cells = _measure(pixels, unreadable, background, bands)
    candidates = _candidates(cells)
    padding = _black(pixels, bands) if cells.black.any() else None
    brightest = _brightest(pixels, unreadable, padding)
    if _is_frame(cells.filled):
        padding = _with_left_out(padding, pixels, background)
    if not candidates.any():
        # White is glass then, if there is any: sections put together from patches have no other.
        return Light(brightest, None, padding, told=bool(cells.filled.any()))
    if np.percentile(cells.mean[candidates][:, 1], 95) < DIM:
        return Light(None, None, padding, told=False)
    middle = np.median(cells.mean[candidates], axis=0).astype(np.float32)
    if brightest is not None and _far(cells, candidates, brightest) < _UNEVEN_SHARE:
        return Light(brightest, None, padding, told=True, seen=middle)
    if cells.filled.any():
        if _is_glass_left_white(cells, candidates):
            candidates |= cells.filled & (cells.mean.min(2) > _DARKEST)
        else:
            padding = _with_left_out(padding, pixels, background)
            # Compressed with the white beside it, glass is brighter than it was.
            beside = candidates & ndimage.binary_dilation(cells.filled, np.ones((3, 3), bool))
            candidates = candidates & ~beside if (candidates & ~beside).any() else candidates
        middle = np.median(cells.mean[candidates], axis=0).astype(np.float32)
        if _far(cells, candidates, middle) < _UNEVEN_SHARE:
            return Light(middle, None, padding, told=True, seen=middle)
    return Light(middle, _spread(optical_density(cells.mean, middle), candidates), padding, True, middle)


def _is_frame(filled: np.ndarray) -> bool:
    """Say whether what is `filled` (rows, columns) lies around, or on sides of, a rectangle that is not."""
    rows, columns = (np.flatnonzero(~filled.all(axis)) for axis in (1, 0))
    if not filled.any() or not len(rows):
        return False
    inside = filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return inside.size < filled.size and inside.mean() < _FRAMED


def _brightest(pixels: np.ndarray, unreadable: np.ndarray, padding: np.ndarray | None) -> np.ndarray | None:
    """Return the colour of the brightest of what is neither unreadable nor padding."""
    unknown = unreadable if padding is None else unreadable | padding
    known = pixels[~unknown] if unknown.any() else pixels.reshape(-1, 3)
    return glass_colour(known) if len(known) else None


def _far(cells: _Cells, candidates: np.ndarray, glass: np.ndarray) -> float:
    """Return the share of the cells of glass that are not of the colour `glass`."""
    return float((np.abs(optical_density(cells.mean[candidates], glass)).max(1) > _EVEN).mean())


@dataclass(frozen=True, slots=True)
class _Cells:
    """Cells of a picture, (rows, columns): mean colours float32; flat ones; all of the colour of what a file leaves out
    (white), or with black in them."""

    mean: np.ndarray
    flat: np.ndarray
    filled: np.ndarray
    black: np.ndarray
    known: np.ndarray

    @property
    def tint(self) -> np.ndarray:
        """log10 of red and blue over green, (rows, columns, 2)."""
        logs = np.log10(self.mean + 1)
        return logs[..., ::2] - logs[..., 1:2]


def _measure(pixels: np.ndarray, unreadable: np.ndarray, background: tuple[int, int, int], bands: Bands) -> _Cells:
    shape = tuple(-(-n // _CELL) for n in pixels.shape[:2])
    mean = np.zeros((*shape, 3), np.float32)
    flat, filled, black, known = (np.zeros(shape, bool) for _ in range(4))

    def look(rows: slice) -> None:
        # Every second row tells as much, in half the time.
        part, bad = pixels[rows][::2], unreadable[rows][::2]
        # Cells that the border cuts are filled up with its pixels.
        pad = [(0, -part.shape[0] % (_CELL // 2)), (0, -part.shape[1] % _CELL)]
        part, bad = np.pad(part, (*pad, (0, 0)), mode="edge"), np.pad(bad, pad, mode="edge")
        first, count = rows.start // _CELL, len(part) // (_CELL // 2)
        at = slice(first, first + count)

        def by_cell(values: np.ndarray) -> np.ndarray:
            return values.reshape(count, _CELL // 2, shape[1], _CELL)

        for c in range(3):
            mean[at, :, c] = by_cell(part[..., c]).mean((1, 3), dtype=np.float32)
        green = mean[at, :, 1]
        squares = np.square(by_cell(part[..., 1]), dtype=np.float32).mean((1, 3))
        flat[at] = squares - green**2 <= (_FLAT * green + 0.5) ** 2
        filled[at] = by_cell(_left_out(part, background)).all((1, 3))
        black[at] = by_cell(_darkest(part)).any((1, 3))
        known[at] = ~by_cell(bad).any((1, 3))

    bands.each(look)
    return _Cells(mean, flat & known & ~filled & ~black, filled & known, black & known, known)


def _left_out(pixels: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Say which pixels are of a colour that files fill with what they leave out: white, or their own background."""
    red, green, blue = (pixels[..., c] for c in range(3))
    white = (red == 255) & (green == 255) & (blue == 255)
    if background == (255, 255, 255):
        return white
    return white | ((red == background[0]) & (green == background[1]) & (blue == background[2]))


def _darkest(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 0] <= _BLACK) & (pixels[..., 1] <= _BLACK) & (pixels[..., 2] <= _BLACK)


def _candidates(cells: _Cells) -> np.ndarray:
    """Return the cells that look like empty glass, (rows, columns) bool."""
    tint = cells.tint
    flat = cells.flat & (cells.mean[..., 1] >= _DARKEST) & (np.abs(tint) < _REACH).all(2)
    if not flat.any():
        return flat
    edges = np.arange(-_REACH, _REACH + _BIN, _BIN)
    red, blue = tint[flat].T
    counts = np.histogram2d(red, blue, bins=[edges, edges])[0]
    middle = (edges[:-1] + edges[1:]) / 2
    # Glass is nearly grey, and of what is flat most is glass.
    prior = np.exp(-np.add.outer(middle**2, middle**2) / (2 * 0.03**2))
    commonest = np.unravel_index(int((ndimage.gaussian_filter(counts, 1.5) * prior).argmax()), counts.shape)
    near = flat & (np.abs(tint - middle[list(commonest)]) < _SAME).all(2)
    near = without_small(near, int(np.clip(0.01 * near.size, 0, _PATCH)))
    if not near.any():
        return near
    density = optical_density(cells.mean[..., 1], np.median(cells.mean[near][:, 1]))
    odd = near & (np.abs(density) > _ODD)
    return (near & ~odd) | _large(odd, _SMALL_SHARE * near.sum())


def _large(mask: np.ndarray, least: float) -> np.ndarray:
    return without_small(mask, int(least)) if mask.any() else mask


def _is_glass_left_white(cells: _Cells, candidates: np.ndarray) -> bool:
    """Say whether what is exactly white is glass that is overexposed, or cut out: then it is what tissue borders on."""
    stained = cells.known & ~cells.filled & ~cells.black & (np.abs(cells.tint).max(2) > _COLOURED)
    around = ndimage.binary_dilation(stained, np.ones((3, 3), bool), 2) & ~stained
    return int((around & cells.filled).sum()) > int((around & candidates).sum())


def _black(pixels: np.ndarray, bands: Bands) -> np.ndarray | None:
    """Return the large black parts of a picture, (h, w) bool, None where there are none."""
    found = np.zeros(pixels.shape[:2], bool)

    def look(rows: slice) -> None:
        found[rows] = _darkest(pixels[rows])

    bands.each(look)
    found = without_small(found, _PADDED)
    return found if found.any() else None


def _with_left_out(padding: np.ndarray | None, pixels: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Return padding together with what the file leaves out, (h, w) bool."""
    found = np.zeros(pixels.shape[:2], bool) if padding is None else padding
    for top in range(0, len(found), BAND):
        found[top : top + BAND] |= _left_out(pixels[top : top + BAND], background)
    return found


def _spread(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill (rows, columns, 3) float32 from the cells that are known, the nearest counting most; smooths them, too."""
    out = np.zeros(values.shape, np.float32)
    missing = np.ones(known.shape, bool)
    sigma = 1.5
    while missing.any():
        weight = ndimage.gaussian_filter(known.astype(np.float32), sigma, mode="constant")
        # A tenth of a cell's worth of glass near by is enough to tell from.
        fits = missing & (weight > 0.1 / (2 * np.pi * sigma**2))
        if fits.any():
            for c in range(3):
                total = ndimage.gaussian_filter(np.where(known, values[..., c], 0), sigma, mode="constant")
                out[fits, c] = total[fits] / weight[fits]
            missing &= ~fits
        sigma *= 2
    return out


def glass_colour(pixels: np.ndarray) -> np.ndarray | None:
    """Estimate the colour of empty glass as the brightest of (n, 3) uint8 pixels; None where it is not brightfield."""
    pixels = some(pixels)
    # Here and below colour by colour: along an axis of three NumPy takes twenty times as long.
    brightness = np.minimum.reduce([*pixels.T])
    bright = np.percentile(brightness, 99)
    if bright < DIM:
        return None
    # A section cut close may show no glass; then white is the better guess than its palest tissue.
    if bright < 200:
        return np.full(3, 240, np.float32)
    return np.median(pixels[brightness >= bright - 12], axis=0)


def some(pixels: np.ndarray) -> np.ndarray:
    """Return at most half a million of (n, 3) pixels, evenly spread: enough for a percentile."""
    # An odd step does not fall in with the width of an image.
    return pixels[:: len(pixels) // 250_000 | 1]
