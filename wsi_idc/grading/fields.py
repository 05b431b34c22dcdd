"""The fields of a slide most worth grading: squares of one area over its IDC, chosen by a stated score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from scipy.ndimage import binary_fill_holes, distance_transform_edt
from shapely import LineString, MultiPolygon, Polygon

from wsi_idc.base.grid import Block, Grid
from wsi_idc.base.polygons import area_of
from wsi_idc.grading.nuclei import nuclear_share
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.slides.slide import Slide

# What each part of the score counts. Nobody has derived these from outcomes: the tumour and its nuclei count alike,
# and the edge tells fields apart that are alike in both.
WEIGHTS = {"tumour": 0.4, "nuclei": 0.4, "edge": 0.2}
# A field with less IDC shows mostly something else.
MIN_TUMOUR = 0.5
# Fields lie a quarter of their side apart, so each is a square of 4 x 4 cells, and what a cell holds is measured once.
_CELLS = 4
# A nucleus is 6 to 12 um wide: enough to tell it from what is around it.
_NUCLEI_UM = 1.0
# Gaps in the tissue up to twice as wide are closed: fat is a net of thin walls. And a border this near to glass lies
# along glass: neither outlines nor the mask of tissue follow it more exactly.
_GLASS_UM = 100.0


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What a run found on a slide: `heatmap` (rows, cols), NaN where no patch was computed, over `grid`.

    `tissue` is bool over `field.fine_grid(grid)`, and `idc` the area of all regions in level-0 pixels.
    """

    heatmap: np.ndarray
    grid: Grid
    tissue: np.ndarray
    idc: Polygon | MultiPolygon


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: how many fields, the area of each in mm2, the width of the invasive edge in um."""

    number: int = 10
    area_mm2: float = 0.237
    edge_um: float = 1000.0


@dataclass(frozen=True, slots=True)
class GradingField:
    """A square to grade, in whole level-0 pixels, with its score and the parts of it, all 0 to 1; see `find_fields`.

    `tumour_share` is the share of it in regions of IDC, `nuclear_share` that of its pixels that are nuclei.
    """

    x: int
    y: int
    width: int
    height: int
    area_mm2: float
    score: float
    tumour: float
    nuclei: float
    edge: float
    tumour_share: float
    nuclear_share: float


@dataclass(frozen=True, slots=True)
class FoundFields:
    """The fields of a slide from the best down, and what they were chosen by.

    `edge` is the invasive edge in whole level-0 pixels, maybe empty; `nuclear_density` the optical density of
    haematoxylin from which a pixel is a nucleus, None where nothing was read; `candidates` the number of fields that
    have enough tumour, overlapping ones too, and `lost` that of those which cannot be decoded and are none of these.
    """

    fields: list[GradingField]
    edge: Polygon | MultiPolygon
    nuclear_density: float | None
    candidates: int
    lost: int = 0


def find_fields(slide: Slide, found: Segmentation, wish: Wish) -> FoundFields:
    """Choose the fields most worth grading: squares, because crops are, that do not overlap.

    The candidates lie a quarter of a side apart, within the slide, and at least half of each is in regions of IDC.
    The score is the mean, weighted by `WEIGHTS`, of
    - tumour: the share in regions of IDC times the mean probability of the patches there;
    - nuclei: the share of pixels, read at 1 um (or the slide's own, if coarser), whose haematoxylin after colour
      deconvolution (Ruifrok & Johnston 2001) is above Otsu's threshold for all that was read of this slide; divided
      by the largest share of a candidate. So it compares fields of one slide, not slides;
    - edge: the share within the invasive edge, see `invasive_edge`.
    The best is taken, then the best of those that do not overlap it, and so on; of equal ones the upper, then the left
    one. Fewer are returned where there is no room for more. Only what candidates cover is read; those that cannot be
    decoded are left out. Raises SlideError where nothing can be.
    """
    cells = _cell_grid(found.grid, wish.area_mm2)
    edge = invasive_edge(found, wish.edge_um)
    of_idc = _share_within(found.idc, cells)
    share = _over_fields(of_idc)
    # Up to a thousandth of a pixel, the last field ends where the slide does.
    cols, rows = (int((s + 1e-3) / d) - _CELLS + 1 for s, d in zip(cells.slide_size, cells.step, strict=True))
    candidate = share >= MIN_TUMOUR - 1e-6
    candidate[max(0, rows) :], candidate[:, max(0, cols) :] = False, False
    if not candidate.any():
        return FoundFields([], edge, None, 0)
    wanted = _covered(candidate, cells.shape)
    of_cells, known, density = nuclear_share(slide, cells, wanted)
    lost = candidate & (_over_fields(wanted & ~known) > 0)
    candidate &= ~lost
    nuclear = np.where(candidate, _over_fields(of_cells), 0)
    parts = {
        "tumour": _over_fields(of_idc * _mean_probability(found, cells)),
        "nuclei": nuclear / max(nuclear.max(), 1e-9),
        "edge": _over_fields(_share_within(edge, cells)),
    }
    # Rounded, or the last bit, which may depend on the machine, would decide among equal fields.
    score = np.round(sum(WEIGHTS[name] * part for name, part in parts.items()), 6)
    width, height = (int(_CELLS * d + 1e-3) for d in cells.step)
    area = width * cells.slide_mpp[0] * height * cells.slide_mpp[1] / 1e6
    fields = []
    for row, col in choose(np.where(candidate, score, np.nan), wish.number):
        x, y = (int(v + 1e-3) for v in cells.to_level0(np.array([col, row])))
        here = row, col
        values = {name: round(min(1.0, float(part[here])), 6) for name, part in parts.items()}
        shares = (round(float(s[here]), 6) for s in (share, nuclear))
        fields.append(GradingField(x, y, width, height, area, float(score[here]), *values.values(), *shares))
    return FoundFields(fields, edge, density, int(candidate.sum()), int(lost.sum()))


def choose(score: np.ndarray, number: int) -> list[tuple[int, int]]:
    """Take up to `number` places of a (rows, cols) score, NaN for none, from the highest down, 4 or more steps apart.

    Two places are apart if they are in rows or in columns. Of equal ones the upper, then the left one is taken.
    """
    free = np.isfinite(score)
    taken: list[tuple[int, int]] = []
    for place in np.argsort(-score, axis=None, kind="stable"):
        row, col = divmod(int(place), score.shape[1])
        if len(taken) == number:
            break
        if free[row, col]:
            taken.append((row, col))
            free[max(0, row - _CELLS + 1) : row + _CELLS, max(0, col - _CELLS + 1) : col + _CELLS] = False
    return taken


def invasive_edge(found: Segmentation, width_um: float) -> Polygon | MultiPolygon:
    """Return the band of `width_um` along the outer border of IDC, half of it inwards, in whole level-0 pixels.

    The usual width is 1 mm (the invasive margin of Hendry et al. 2017, Adv Anat Pathol 24:235), so that a field just
    inside the border lies within it. Holes within a region are no border to the host. Nor is a border within 100 um of
    glass, where the tissue was cut or ends; and the band itself does not reach onto glass. Holes in the tissue, and
    gaps up to 200 um wide, count as tissue: they are mostly fat. Empty where there is no such border.
    """
    if found.idc.is_empty or not found.tissue.any():
        return MultiPolygon()
    scale = np.array(found.grid.slide_mpp)
    tissue, inner = _tissue(found)
    shells = [Polygon(part.exterior) for part in shapely.get_parts(found.idc)]
    outlines = shapely.transform(shapely.boundary(shapely.union_all(shells)), lambda xy: xy * scale)
    # Where two borders only touch there is a point, which has no length and gets no band.
    border = [part for part in shapely.get_parts(outlines & inner) if part.length > 0]
    band = shapely.intersection(_widened(border, width_um / 2), tissue)
    band = shapely.transform(band, lambda xy: xy / scale) & shapely.box(0, 0, *found.grid.slide_size)
    return shapely.normalize(area_of(shapely.set_precision(band, 1.0)))


def _widened(lines: Sequence[shapely.Geometry], reach: float) -> shapely.Geometry:
    """Return what is within `reach` of lines, piece by piece: a long line at once takes tenfold time and gigabytes."""
    coordinates = [shapely.get_coordinates(line) for line in lines]
    pieces = [LineString(xy[i : i + 21]) for xy in coordinates for i in range(0, len(xy) - 1, 20)]
    return shapely.union_all(shapely.buffer(pieces, reach))


def _cell_grid(grid: Grid, area_mm2: float) -> Grid:
    """Return the grid of cells, 4 x 4 to a field, whose side is a whole number of level-0 pixels."""
    side_um = round(1000 * area_mm2**0.5 / grid.slide_mpp[0]) * grid.slide_mpp[0]
    pixels = max(1, round(side_um / _CELLS / max(_NUCLEI_UM, *grid.slide_mpp)))
    return Grid(grid.slide_size, grid.slide_mpp, pixels, side_um / _CELLS / pixels)


def _over_fields(cells: np.ndarray) -> np.ndarray:
    """Average (rows, cols) of cells over each field; a place is that of the field's upper left cell."""
    if min(cells.shape) < _CELLS:
        return np.zeros((0, 0))
    return np.lib.stride_tricks.sliding_window_view(cells, (_CELLS, _CELLS)).mean((2, 3), dtype=np.float64)


def _covered(fields: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Say of each cell whether one of the fields covers it."""
    out = np.zeros(shape, bool)
    for row, col in np.ndindex(_CELLS, _CELLS):
        out[row : row + fields.shape[0], col : col + fields.shape[1]] |= fields
    return out


def _share_within(area: Polygon | MultiPolygon, cells: Grid) -> np.ndarray:
    """Return the share of each cell within an area of level-0 pixels, (rows, cols).

    The area is halved until its pieces are empty, full, or a cell: to cut each cell out of a whole large outline takes
    fifty times as long.
    """
    out = np.zeros(cells.shape)
    left: list[tuple[shapely.Geometry, Block]] = [(area, Block(0, 0, *cells.shape))]
    while left:
        whole, block = left.pop()
        corners = cells.to_level0(np.array([[block.left, block.top], [block.right, block.bottom]]))
        piece = shapely.clip_by_rect(whole, *corners.ravel())
        share = shapely.area(piece) / np.prod(corners[1] - corners[0])
        if share > 1 - 1e-9 or block.shape == (1, 1):
            out[block.slices] = min(1.0, share)
        elif share > 0:
            left += [(piece, half) for half in _halves(block)]
    return out


def _halves(block: Block) -> tuple[Block, Block]:
    height, width = block.shape
    if height > width:
        middle = block.top + height // 2
        return replace(block, bottom=middle), replace(block, top=middle)
    middle = block.left + width // 2
    return replace(block, right=middle), replace(block, left=middle)


def _mean_probability(found: Segmentation, cells: Grid) -> np.ndarray:
    """Return the mean probability of the patches that were computed over each cell, (rows, cols), 0 without any."""
    known = np.isfinite(found.heatmap)
    total, area = (cells.share(a, found.grid.patch_um) for a in (np.where(known, found.heatmap, 0), known))
    return np.divide(total, area, out=np.zeros(cells.shape), where=area > 1e-6)


def _tissue(found: Segmentation) -> tuple[shapely.Geometry, shapely.Geometry]:
    """Return the area of tissue in um, gaps closed and holes filled, and what of it is away from glass."""
    fine = fine_grid(found.grid)
    reach = _GLASS_UM / fine.patch_um
    # What lies beyond the slide is not known to be tissue.
    pad = math.ceil(reach) + 1
    near = distance_transform_edt(~np.pad(found.tissue, pad)) <= reach
    filled = binary_fill_holes(distance_transform_edt(near) > reach)
    return _area(filled, fine, pad), _area(distance_transform_edt(filled) > reach, fine, pad)


def _area(mask: np.ndarray, grid: Grid, pad: int) -> shapely.Geometry:
    """Return the area in um of a mask over a grid with a rim of `pad` squares more on each side."""
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8))
    (rows, begin), (_, end) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    squares = shapely.union_all(shapely.box(begin - pad, rows - pad, end - pad, rows - pad + 1))
    # Without the corners of squares along a straight side.
    outline = shapely.simplify(squares, 0)
    return shapely.transform(outline, lambda xy: grid.to_level0(xy) * np.array(grid.slide_mpp))
