"""Paint a stylised H&E breast section, with its true labels.

Everything is laid out in micrometres from one seed, so that the same seed gives the same anatomy at any scale, and
coloured by Beer-Lambert mixing of haematoxylin and eosin. No image of any patient is involved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter, label
from scipy.spatial import cKDTree

CLASSES = ("glass", "fat", "stroma", "duct", "tumour", "ink")  # index = label value
_GLASS, _FAT, _STROMA, _DUCT, _TUMOUR, _INK = range(len(CLASSES))

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

_GRID = 20.0  # um per cell of the grid on which the anatomy is laid out
_MARGIN = 260.0  # um of bare glass on every side, before the outline is frayed
_WHITE = (243, 242, 244)  # a lit, empty slide
_HAEMATOXYLIN = (0.60, 0.72, 0.34)  # optical density of R, G and B per unit of stain
_EOSIN = (0.09, 0.82, 0.45)
_MARKERS = ((1.7, 0.85, 0.25), (1.6, 0.45, 0.9))  # optical density of a blue and of a green pen


@dataclass(frozen=True, slots=True)
class PaintedSection:
    """A painted section: pixels (h, w, 3) uint8 RGB, labels (h, w) uint8 into CLASSES, mpp in um per pixel."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    mpp: float


@dataclass(frozen=True, slots=True)
class _Canvas:
    """The extent (x, y) in um that is painted, and the generator that every layout draw comes from."""

    size: tuple[float, float]
    rng: np.random.Generator

    def raster(self, cells: Array, mpp: float, step: tuple[float, float] = (_GRID, _GRID)) -> Array:
        """Resample cells of `step` um (x, y) to float32 pixels (h, w) of `mpp` um over the extent."""
        out = [max(1, round(side / mpp)) for side in self.size]
        span = [min(side / d, n) for side, d, n in zip(self.size, step, cells.shape[::-1], strict=True)]
        return np.array(Image.fromarray(cells).resize(out, Image.Resampling.BICUBIC, box=(0.0, 0.0, span[0], span[1])))

    def noise(self, mpp: float, step_x: float, step_y: float | None = None) -> Array:
        """Smooth noise of about unit variance, float32 (h, w), with features of `step_x` by `step_y` um."""
        step = (step_x, step_y or step_x)
        nx, ny = (int(np.ceil(s / d)) + 1 for s, d in zip(self.size, step, strict=True))
        return self.raster(self.rng.standard_normal((ny, nx), np.float32) * np.float32(1.3), mpp, step)

    def scatter(self, spacing: float, extra: int) -> tuple[Array, Array]:
        """Points (n, 2) in um on a jittered lattice, and `extra` uniform draws for each, (extra, n); float32."""
        nx, ny = (int(s / spacing) for s in self.size)
        draws = self.rng.random((2 + extra, nx * ny), np.float32)
        lattice = np.stack([np.tile(np.arange(nx), ny), np.repeat(np.arange(ny), nx)])
        return ((lattice + draws[:2]) * spacing).astype(np.float32).T, draws[2:]


def _pick(rng: np.random.Generator, slack: Array) -> tuple[tuple[int, int], bool]:
    """Pick a random grid cell among those with slack >= 0, or else the best one, and say which of both it was."""
    best = np.argmax(np.minimum(slack, 0) + rng.random(slack.shape, np.float32) * 1e-3)
    row, col = np.unravel_index(int(best), slack.shape)
    return (int(row), int(col)), bool(slack.max() >= 0)


def _away(mask: Mask) -> Array:
    """Distance in um of every grid cell to the mask, 0 inside it."""
    return (distance_transform_edt(~mask) * _GRID).astype(np.float32) if mask.any() else np.full(mask.shape, 1e6, "f4")


def _drop_specks(field: Array, smallest: float) -> Array:
    """Make the field negative on the parts smaller than `smallest` mm2, except for the largest part."""
    parts, n = label(field > 0)
    area = np.bincount(parts.ravel(), minlength=n + 1) * (_GRID / 1000) ** 2
    area[0] = 0
    return np.where((area >= min(smallest, area.max()))[parts], field, np.minimum(field, -1)).astype(np.float32)


def _lay_out(canvas: _Canvas) -> dict[str, Array]:
    """Draw tissue, tumour, fat, lobule, duct and ink as fields on the layout grid, float32, positive inside.

    `lobule` holds the surroundings of every duct or lobule; `duct` is the depth in um into the wall of a single duct.
    """
    rng, (width, height) = canvas.rng, canvas.size
    short = min(width, height)

    def noise(step: float) -> Array:
        return canvas.noise(_GRID, step)

    def far(cell: tuple[int, int]) -> Array:
        return np.hypot(x - x[cell], y - y[cell])

    y, x = (np.indices(noise(short).shape, np.float32) + 0.5) * np.float32(_GRID)
    rim = np.minimum(np.minimum(x, width - x), np.minimum(y, height - y)) - _MARGIN
    outline = 1 - (np.abs(2 * x / width - 1) ** 2.6 + np.abs(2 * y / height - 1) ** 2.6) ** (1 / 2.6)
    outline += 0.09 * noise(short / 4) + 110 / short * (noise(300) + 0.4 * noise(90))
    outline -= np.clip(1 - rim / (0.1 * short), 0, 1) ** 2  # keeps the margin from cutting the tissue straight
    level = np.quantile(np.where(rim > 0, outline, -9), 1 - min(0.6, 0.85 * float((rim > 0).mean())))
    tissue = _drop_specks(np.minimum((outline - level) * short / 2, rim), 9e9)
    depth = _away(tissue <= 0)

    largest = min(0.16 * short + 130, 1400)
    tumour, apart = np.full_like(x, -1e6), np.full_like(x, 1e6)
    for r in (largest, 0.6 * largest):
        slack = np.minimum(depth - 0.8 * r, np.abs(x - width / 2) - 0.15 * width)
        cell, fits = _pick(rng, np.minimum(slack, apart - 1.4 * (r + largest) - 400))
        wobble = 0.26 * noise(0.7 * r) + 0.12 * noise(0.25 * r)
        if fits or r == largest:
            apart = far(cell)
            tumour = np.maximum(tumour, r - apart + r * wobble)
    tumour = _drop_specks(np.minimum(tumour, tissue), 0.5)
    mass = _away(tumour > 0)
    gap = mass
    for r in rng.uniform(190, 250, 4):  # satellites
        cell, fits = _pick(rng, np.minimum(np.minimum(depth - r - 80, gap - r - 180), r + 400 - mass))
        if fits:
            tumour = np.maximum(tumour, r - far(cell) + 35 * noise(120))
            gap = _away(tumour > 0)
    tumour = gaussian_filter(_away(tumour <= 0) - gap, 1)  # a distance in um, so that cords reach equally far out

    free = (tissue > 0) & (tumour <= 0)
    fat = noise(800) + 0.45 * noise(250) - depth / (0.15 * short) - np.minimum(gap, 500) / 2000
    fat = np.where(gap < 60, -1, fat - np.quantile(fat[free], 0.62)).astype(np.float32)

    lobule, duct, taken = np.full_like(x, -1e3), np.full_like(x, -1e3), gap
    for i in range(max(2, round(0.45 * float(free.sum()) * (_GRID / 1000) ** 2))):
        single = i % 2 == 0
        r = rng.uniform(80, 130) if single else rng.uniform(130, 260)
        cell, fits = _pick(rng, np.minimum(np.minimum(depth, taken) - r - 60, -1e3 * fat))
        wobble, turn = noise(90), rng.uniform(0, np.pi)
        if fits:
            taken = np.minimum(taken, far(cell) - r)
            lobule = np.maximum(lobule, r + 25 * single - far(cell) + 14 * wobble)
            if single:
                along = np.cos(turn) * (x - x[cell]) + np.sin(turn) * (y - y[cell])
                duct = np.maximum(duct, r - np.hypot(far(cell), along) + 10 * wobble)

    # The pen stroke follows the tissue edge, a little outside it, where the tumour is farthest.
    cell, _ = _pick(rng, 50 * np.minimum(-np.abs(_away(tissue > 0) - 40), np.minimum(0, rim - 150)) + gap - gap.max())
    inward = np.array([g[cell] for g in np.gradient(gaussian_filter(tissue, 10))][::-1])
    inward /= np.hypot(*inward) + 1e-6
    t = np.linspace(-1, 1, 60)[:, None] * min(900, short / 5)
    stroke = np.array([x[cell], y[cell]]) + t * [-inward[1], inward[0]] + t**2 * inward / short
    reach = cKDTree(stroke).query(np.stack([x, y], 2).reshape(-1, 2))[0].reshape(x.shape)
    ink = np.minimum(95 + 15 * noise(100) - reach, np.minimum(rim, gap - 300)).astype(np.float32)
    return {"tissue": tissue, "tumour": tumour, "fat": fat, "lobule": lobule, "duct": duct, "ink": ink}


def _cells(points: Array, spot: tuple[NDArray[np.intp], ...], mpp: float) -> tuple[Array, Array, NDArray[np.intp]]:
    """For pixels (row, col): distance in um to the nearest point and to its rounded cell wall; that point's index."""
    at = (np.stack(spot[::-1], 1).astype(np.float32) + 0.5) * mpp
    near, index = cKDTree(points).query(at, k=4, workers=-1)
    apart = np.linalg.norm(points[index[:, :1]] - points[index[:, 1:]], axis=2)
    walls = (near[:, 1:] ** 2 - near[:, :1] ** 2) / (2 * apart)
    wall = -7 * np.log(np.exp(walls / -7).sum(1))  # a soft minimum rounds the corners
    return near[:, 0].astype(np.float32), wall.astype(np.float32), index[:, 0]


def _at(image: NDArray, points: Array, mpp: float) -> NDArray:
    """Values of an (h, w) image of `mpp` um at points (n, 2) in um."""
    col, row = np.minimum((points / mpp).astype(np.intp), np.array(image.shape[::-1]) - 1).T
    return image[row, col]


def _stamp(target: Array, points: Array, form: Array, mpp: float) -> None:
    """Draw ellipses into `target` (h, w), the strongest winning, about points (n, 2) in um.

    `form` (4, n): radius in um along and across the axis, angle of the axis, strength.
    """
    half = int(np.ceil(float(form[:2].max(initial=0)) / mpp)) + 1
    dy, dx = (d.ravel() for d in np.indices((2 * half + 1,) * 2) - half)
    batch = max(1, 2_000_000 // dx.size)
    for i in range(0, len(points), batch):
        px, py = (points[i : i + batch].T / mpp)[..., None]
        along, across, turn, strength = form[:, i : i + batch, None]
        col, row = px.astype(np.intp) + dx, py.astype(np.intp) + dy
        u, v, cos, sin = (col + 0.5 - px) * mpp, (row + 0.5 - py) * mpp, np.cos(turn), np.sin(turn)
        off = np.hypot((u * cos + v * sin) / along, (v * cos - u * sin) / across)
        cover = np.clip((1 - off) * np.sqrt(along * across) / mpp + 0.5, 0, 1) * strength  # an edge of one pixel
        hit = (cover > 0) & (row >= 0) & (row < target.shape[0]) & (col >= 0) & (col < target.shape[1])
        np.maximum.at(target, (row[hit], col[hit]), cover[hit].astype(np.float32))


def paint_section(width_mm: float = 8.0, height_mm: float = 6.0, mpp: float = 2.0, seed: int = 0) -> PaintedSection:
    """Paint an H&E breast section on white glass; one seed gives the same anatomy at every `mpp` (um per pixel).

    A tumour mass is labelled as a whole, with the stroma inside it.
    """
    if min(width_mm, height_mm) < 1 or not 0.25 <= mpp <= 8:
        raise ValueError("a painted section is at least 1 mm on each side, at 0.25 to 8 um per pixel")
    canvas = _Canvas((width_mm * 1000, height_mm * 1000), np.random.default_rng(seed))
    rng, noise, fields = canvas.rng, canvas.noise, _lay_out(canvas)
    fine = {name: canvas.raster(field, mpp) for name, field in fields.items()}

    def soft(field: Array, width: float = 0.0) -> Array:
        return np.clip(field / np.float32(max(mpp, width)) + 0.5, 0, 1)  # the share of a pixel that is inside

    frayed = noise(mpp, 30)
    tissue, duct = fine["tissue"] + 12 * frayed, fine["duct"]
    labels = np.where(tissue > 0, _STROMA, _GLASS).astype(np.uint8)
    for value, name in ((_FAT, "fat"), (_DUCT, "lobule"), (_TUMOUR, "tumour")):
        labels[(tissue > 0) & (fine[name] > 0)] = value

    # Collagen and cords of tumour: long thin noise, looked up along wavy lines so that the bundles bend.
    sway = 200 * noise(_GRID, 800) + 25 * noise(_GRID, 180)
    slope = np.arctan(-np.gradient(sway, _GRID, axis=1)).astype(np.float32)
    h, w = labels.shape
    bend = np.abs(np.arange(h)[:, None] + np.rint(canvas.raster(sway, mpp) / mpp).astype(np.intp)) % h, np.arange(w)
    bundles = (noise(mpp, 110, 12) + 0.6 * noise(mpp, 45, 6))[bend]
    nests = (noise(mpp, 80, 32) + 0.7 * noise(mpp, 30, 17))[bend]
    patchy, mottle = noise(mpp, 350), noise(mpp, 7)
    eosin = 0.56 + 0.06 * bundles + 0.05 * patchy + 0.03 * mottle
    haem = 0.06 + 0.015 * bundles + 0.015 * mottle
    void = 0.8 * soft(bundles - 2.9 - 0.5 * patchy, 0.6)  # the share of light that meets no tissue; here clefts

    # Tumour: nests in a mauve stroma that they invade, with slits where they have shrunk from it.
    nests += 0.4 * patchy + 0.2
    invaded = fine["tumour"] + 25 * nests
    nest, within = soft(nests, 0.5), soft(invaded, 30)
    eosin += within * (nest * (0.55 + 0.08 * mottle - eosin) + (1 - nest) * 0.08)
    haem += within * (0.2 + 0.17 * nest + 0.06 * mottle)
    slits = soft(bundles - 1.9, 0.5) * soft(0.35 - np.abs(nests), 0.2)
    void = np.maximum(void * (1 - within * nest), 0.9 * within * slits)

    # Lobules are acini about jittered seeds, ducts one ring about a lumen, both in a paler stroma.
    seeds, _ = canvas.scatter(74, 0)
    spot = np.nonzero(labels == _DUCT)
    duct[spot] = np.where(duct[spot] > -45, duct[spot], 29 - _cells(seeds, spot, mpp)[0])
    wall = soft(duct[spot])
    eosin[spot] += wall * (0.38 - eosin[spot]) - 0.08 * (1 - wall)
    haem[spot] += 0.3 * wall
    void[spot] = 0.95 * soft(duct[spot] - 18 - 3 * mottle[spot])

    # Fat: the cells of a jittered lattice are empty; a few lie alone in the stroma.
    seeds, draws = canvas.scatter(67, 3)
    fatty = _at(fields["fat"], seeds, _GRID) > 0
    near = canvas.raster(_away(fields["fat"] > 0), mpp) < 60
    spot = np.nonzero(near & (tissue > 0) & (labels < _DUCT))
    reach, wall, index = _cells(seeds, spot, mpp)
    lumen = soft(np.minimum(wall - 0.5 + 0.8 * mottle[spot], 55 - reach)) * (fatty & (draws[0] > 0.02))[index]
    void[spot] = np.maximum(void[spot], 0.985 * lumen)
    lone = ~fatty & (draws[0] > 0.985) & (_at(labels, seeds, mpp) == _STROMA)
    holes = np.stack([24 + 12 * draws[1], 20 + 8 * draws[2], _at(slope, seeds, _GRID), np.full(len(seeds), 0.985)])
    _stamp(void, seeds[lone], holes[:, lone], mpp)

    # Nuclei: spacing, share kept, where, least and span of both radii (um), spread of the axis about the fibres.
    nuclei = np.zeros((h, w), np.float32)
    for spacing, share, where, form, spread in (
        (10.5, 0.85, (invaded > 0) & (nests > 0), (3.8, 3.0, 3.0, 1.6), np.pi),
        (13.0, 0.8, (labels == _TUMOUR) & (nests <= 0), (4.0, 3.0, 2.2, 1.0), 1.0),
        (7.5, 0.95, (labels == _DUCT) & (duct > 2) & (duct < 16), (3.6, 0.8, 3.0, 0.5), np.pi),
        (17.0, 0.4, (labels == _DUCT) & (duct < -3), (4.0, 3.0, 2.2, 1.0), 1.0),
        (27.0, 0.4, tissue > 0, (5.0, 4.0, 1.6, 0.6), 1.0),
    ):
        points, draws = canvas.scatter(spacing, 5)
        keep = _at(where & (void < 0.5), points, mpp) & (draws[0] < share)
        points, draws = points[keep], draws[1:, keep]
        turn = _at(slope, points, _GRID) + spread * (draws[2] - 0.5)
        radii = form[0] + form[1] * draws[0], form[2] + form[3] * draws[1]
        _stamp(nuclei, points, np.stack([*radii, turn, 0.5 + 0.5 * draws[3]]).astype(np.float32), mpp)

    drift = 0.05 * canvas.raster(noise(_GRID, 1500), mpp)
    stain, marker = rng.uniform(0.92, 1.08, 2).astype(np.float32), _MARKERS[rng.integers(len(_MARKERS))]
    haem = ((1 - void) * haem + nuclei) * soft(tissue) * stain[0] * (1 + drift)
    eosin *= (1 - void) * (1 - 0.35 * nuclei) * soft(tissue) * stain[1] * (1 - drift)
    pen = soft(fine["ink"] + 10 * frayed, 12) * (0.8 + 0.12 * noise(mpp, 60))
    labels[pen > 0.4] = _INK
    pixels = np.empty((h, w, 3), np.uint8)
    for c in range(3):
        density = haem * _HAEMATOXYLIN[c] + eosin * _EOSIN[c] + pen * marker[c]
        light = _WHITE[c] * np.exp(-np.maximum(density, 0)) + rng.standard_normal((h, w), np.float32)
        pixels[..., c] = np.clip(np.rint(light), 0, 255)
    return PaintedSection(pixels, labels, mpp)
