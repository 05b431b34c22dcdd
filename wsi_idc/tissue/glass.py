"""Empty glass of a slide of JPEG tiles, told from how few bytes its tiles take, so that it need not be decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsi_idc.base.optical_density import optical_density
from wsi_idc.base.threads import in_parallel
from wsi_idc.errors import SlideError
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.tiff.jpeg_tiles import JpegTileReader
from wsi_idc.tissue.light import glass_colour
from wsi_idc.tissue.stained import WEAK_DENSITY
from wsi_idc.tissue.tissue import READ_UM, TissueMap, find_tissue

# Glass is told by cells of this many pixels of READ_UM a side: 200 um, the patches of a model of 4 um/px.
CELL = 50
CELL_UM = CELL * READ_UM
# One tile in a square of this many cells a side is looked at, however few its bytes.
_WATCHED = 2
# Tiles looked at to learn how many bytes glass takes, and the least of a slide for which that is worth it.
_SAMPLES, _FEWEST = 120, 1200
# Glass that takes more bytes than this, beside its median, is decoded. On CMU-1-Small-Region.svs tiles of glass take
# 0.94 to 1.08 of their median, those that a border of tissue crosses 1.1 and more, those of tissue 1.7 to 12.
_MOST = 1.25
# Tiles decoded by one task.
_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Glass:
    """Cells of CELL_UM um from the slide's top-left corner: `empty` (rows, cols) bool, `colours` (rows, cols, 3) uint8.

    The colours are those of glass near by, and mean nothing where a cell is not empty.
    """

    empty: np.ndarray
    colours: np.ndarray


def find_glass(slide: Slide, threads: int = 1) -> Glass | None:
    """Find cells of which every tile takes as few bytes as empty glass; None where bytes tell nothing.

    How few that is, tiles of all sizes tell, evenly drawn: at most half-way from the median of those without stain to
    the first with stain. Besides, one tile in each few cells is looked at, and where it is not of the colour of glass,
    as ink or stain without any texture, the cells are not empty. Only slides with small tiles at the level that is
    read at READ_UM um/px: of a pyramid it is a low level, which is soon read. So many `threads` decode.
    """
    reader = slide.jpeg_tiles
    # Colours that are corrected differ from those of the tiles.
    if reader is None or slide.correction:
        return None
    level = reader.source(slide.best_level(READ_UM))
    at, coded, side = reader.levels[level], reader.coded_bytes(level), reader.tile_side(level)
    tile_um = np.array([side[1] * slide.mpp.y, side[0] * slide.mpp.x]) * at.downsample
    # Tiles across the border of the slide are in part padding, and take fewer bytes for it.
    inner = coded[: at.height // side[1], : at.width // side[0]]
    if inner.size < _FEWEST or tile_um.max() > CELL_UM:
        return None
    drawn = np.argsort(inner, axis=None, kind="stable")[np.linspace(0, inner.size - 1, _SAMPLES).astype(int)]
    places = np.stack(np.unravel_index(drawn, inner.shape), 1)
    quarters = _quarters(reader, level, places, threads)
    decoded = np.isfinite(quarters).all((1, 2))
    places, quarters = places[decoded], quarters[decoded]
    colour = glass_colour(np.rint(quarters.reshape(-1, 3)).astype(np.uint8)) if len(places) else None
    if colour is None:
        return None
    sizes, stained = inner[tuple(places.T)], ~_is_glass(quarters, colour)
    first = int(stained.argmax()) if stained.any() else len(sizes)
    typical = float(np.median(sizes[:first])) if first else 0.0
    limit = min(_MOST * typical, (typical + sizes[first]) / 2 if first < len(sizes) else np.inf)
    busy = np.ones(coded.shape, bool)
    busy[: inner.shape[0], : inner.shape[1]] = (inner > limit) | (inner == 0)
    step = CELL_UM / tile_um
    rows, cols = (
        max(1, int(np.ceil(s * m / CELL_UM))) for s, m in zip(slide.size[::-1], (slide.mpp.y, slide.mpp.x), strict=True)
    )
    empty = ~_any_within(_any_within(busy, rows, step[0]).T, cols, step[1]).T
    return _watched(reader, level, empty, step, colour, threads)


def _watched(
    reader: JpegTileReader, level: int, empty: np.ndarray, step: np.ndarray, colour: np.ndarray, threads: int
) -> Glass:
    """Look at a tile in each square of cells: gives the cells their colour, or takes them back."""
    rows, cols = empty.shape
    squares = np.pad(empty, [(0, -n % _WATCHED) for n in empty.shape])
    squares = squares.reshape(-(-rows // _WATCHED), _WATCHED, -(-cols // _WATCHED), _WATCHED).swapaxes(1, 2)
    flat = squares.reshape(*squares.shape[:2], -1)
    at = np.argwhere(flat.any(2))
    cells = _WATCHED * at + np.stack(np.divmod(flat[tuple(at.T)].argmax(1), _WATCHED), 1)
    quarters = _quarters(reader, level, ((cells + 0.5) * step).astype(int), threads)
    is_glass = np.zeros(squares.shape[:2], bool)
    colours = np.zeros((*squares.shape[:2], 3), np.uint8)
    is_glass[tuple(at.T)] = _is_glass(quarters, colour)
    colours[tuple(at.T)] = np.rint(np.nan_to_num(quarters.mean(1)))
    spread = np.s_[:rows, :cols]
    is_glass, colours = (v.repeat(_WATCHED, 0).repeat(_WATCHED, 1)[spread] for v in (is_glass, colours))
    return Glass(empty & is_glass, colours)


def _any_within(flags: np.ndarray, count: int, step: float) -> np.ndarray:
    """Say of `count` stretches of `step` rows each, maybe fractional, whether a row that they touch is flagged."""
    edges = np.minimum(step * np.arange(count + 1), len(flags))
    first, end = np.floor(edges[:-1] + 1e-6).astype(int), np.ceil(edges[1:] - 1e-6).astype(int)
    found = np.zeros((count, flags.shape[1]), bool)
    for row in range(int((end - first).max())):
        found |= flags[np.minimum(first + row, len(flags) - 1)] & (first + row < end)[:, None]
    return found


def _quarters(reader: JpegTileReader, level: int, places: np.ndarray, threads: int) -> np.ndarray:
    """Return the mean colours (n, 4, 3) float32 of the quarters of tiles (row, column), NaN of those not decodable."""
    found = np.full((len(places), 4, 3), np.nan, np.float32)

    def look(start: int) -> None:
        for i in range(start, min(start + _TOGETHER, len(places))):
            try:
                tile = reader.thumbnail(level, *map(int, places[i]))
            except SlideError:
                continue
            y, x = (n // 2 for n in tile.shape[:2])
            found[i] = [part.mean((0, 1)) for part in (tile[:y, :x], tile[:y, x:], tile[y:, :x], tile[y:, x:])]

    in_parallel(look, range(0, len(places), _TOGETHER), threads)
    return found


def _is_glass(quarters: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Say of tiles whether every quarter lets through as much light as glass, in every colour; False where NaN."""
    density = optical_density(quarters, colour)
    return np.all(density < WEAK_DENSITY, axis=(1, 2))


class SparseSlide:
    """Stands for `slide` where tissue is looked for: empty glass is not decoded, but filled with its colour."""

    def __init__(self, slide: Slide, glass: Glass) -> None:
        """Take `glass` as it was found on `slide`."""
        self._slide, self.glass = slide, glass
        self.path, self.size, self.mpp, self.background = slide.path, slide.size, slide.mpp, slide.background

    def read(self, x: float, y: float, width: int, height: int, mpp: float) -> np.ndarray:
        """Read a rectangle as `Slide.read` does; only at READ_UM um/px, from a corner of a cell, is glass left out."""
        left, top = x * self.mpp.x / CELL_UM, y * self.mpp.y / CELL_UM
        col, row = round(left), round(top)
        if mpp != READ_UM or max(abs(left - col), abs(top - row)) > 1e-4 or min(col, row) < 0:
            return self._slide.read(x, y, width, height, mpp)
        cells = np.s_[row : row - (-height // CELL), col : col - (-width // CELL)]
        empty = self.glass.empty[cells]
        out = np.empty((height, width, 3), np.uint8)
        out[:] = self.background
        filled = self.glass.colours[cells].repeat(CELL, 0).repeat(CELL, 1)[:height, :width]
        out[: filled.shape[0], : filled.shape[1]] = filled
        step = CELL_UM / self.mpp.x, CELL_UM / self.mpp.y
        for upper, lower, first, last in rectangles(~empty):
            part = out[upper * CELL : lower * CELL, first * CELL : last * CELL]
            corner = (col + first) * step[0], (row + upper) * step[1]
            part[:] = self._slide.read(*corner, part.shape[1], part.shape[0], mpp)
        return out


def without_glass(slide: Slide, threads: int = 1) -> SparseSlide | None:
    """Return the slide without its empty glass; None where that cannot be told without decoding it."""
    glass = find_glass(slide, threads)
    return SparseSlide(slide, glass) if glass is not None else None


def tissue_of(slide: Slide, threads: int = 1) -> TissueMap:
    """Find the tissue of a slide as a run does: its empty glass is not decoded, where that can be told."""
    return find_tissue(without_glass(slide, threads) or slide, threads)


def rectangles(wanted: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Cut the True cells of (rows, cols) into rectangles (top, bottom, left, right), ends excluded.

    Runs of cells of a row, joined with the row above where it has the same run.
    """
    done: list[tuple[int, int, int, int]] = []
    growing: dict[tuple[int, int], int] = {}
    for row in range(len(wanted) + 1):
        steps = np.diff(wanted[row].astype(np.int8), prepend=0, append=0) if row < len(wanted) else np.zeros(1)
        runs = list(zip(np.flatnonzero(steps > 0).tolist(), np.flatnonzero(steps < 0).tolist(), strict=True))
        done += [(top, row, *run) for run, top in growing.items() if run not in runs]
        growing = {run: growing.get(run, row) for run in runs}
    return done
