"""Write a slide of any size within seconds, to measure on, by repeating the encoded JPEG tiles of a small one.

    python benchmarks/make_slide.py OUT --side 20000 [--pyramid] [--source FILE] [--seed N]

Islands of tissue on glass, about 35 % of the area, at 0.25 um/px, in the form of an Aperio slide (BigTIFF). Level 0 is
not encoded again: its tiles are those of the source, by default CMU-1-Small-Region.svs among the real slides
(WSI_IDC_DATA or ../shared), or else of a painted section. With --pyramid come levels 4, 16 and 64 times smaller,
averages of level 0 by area. Made of repeated tiles, such a slide is good for measuring time, not for finding tumour.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter

from wsi_idc.demo.painter import paint_section
from wsi_idc.slides.write import write_slide

MPP, POWER = 0.25, 40
TISSUE_SHARE = 0.35
# Lower levels are there to be compared with level 0: hardly any loss.
FINE = {"compressionargs": {"level": 100}, "subsampling": (1, 1)}
DOWNSAMPLES = (4, 16, 64)
# A tile counts as tissue where this share of its pixels is this much darker, in green light, than the glass.
_FULL, _DARKER = 0.8, 15


@dataclass(frozen=True, slots=True)
class Kinds:
    """The tiles to repeat: `encoded` JPEG streams and their `pixels` (n, side, side, 3) uint8, number 0 being glass.

    `layout` (rows, columns) says which of them lies where in the source, -1 where no tissue does; `tags` is what a TIFF
    must say of them.
    """

    encoded: list[bytes]
    pixels: np.ndarray
    layout: np.ndarray
    tags: dict[str, Any]


def default_source(folder: Path) -> Path:
    """Return the real slide, or a painted section written into `folder`."""
    data = Path(os.environ.get("WSI_IDC_DATA") or Path(__file__).parents[2] / "shared")
    real = data / "slides" / "CMU-1-Small-Region.svs"
    if real.is_file():
        return real
    # Painted at 0.5 um/px, four times as fast as at 0.25, and said to be of 0.25.
    section = paint_section(1.6, 1.6, 0.5)
    return write_slide(folder / "painted.tif", section.pixels, MPP, downsamples=(1,), tile=240)


def raw(file: tifffile.FileHandle, offset: int, size: int) -> bytes:
    """Read a part of a file."""
    file.seek(offset)
    return file.read(size)


def read_kinds(source: Path) -> Kinds:
    """Take the whole tiles of tissue, and the brightest one as glass, from level 0 of a slide of square JPEG tiles."""
    with tifffile.TiffFile(source) as file:
        page = file.pages[0]
        side, (rows, cols) = page.tilelength, (page.imagelength // page.tilelength, page.imagewidth // page.tilewidth)
        if page.compression != tifffile.COMPRESSION.JPEG or page.tilewidth != side:
            raise click.ClickException(f"{source}: level 0 is not made of square JPEG tiles")
        pixels = page.asarray()[: rows * side, : cols * side]
        pixels = pixels.reshape(rows, side, cols, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        across = -(-page.imagewidth // side)
        spots = [row * across + col for row in range(rows) for col in range(cols)]
        encoded = [raw(file.filehandle, page.dataoffsets[s], page.databytecounts[s]) for s in spots]
        # tifffile takes RGB for what is given, and the colour space for what is stored.
        stored = {"outcolorspace": page.photometric.name}
        tags = {"jpegtables": page.jpegtables, "subsampling": page.subsampling, "compressionargs": stored}
    green = pixels[..., 1].astype(np.float32)
    brightest = int(green.mean((1, 2)).argmax())
    share = (green < green[brightest].mean() - _DARKER).mean((1, 2))
    tissue = np.flatnonzero(share >= _FULL)
    if not len(tissue):
        raise click.ClickException(f"{source}: no tile is full of tissue")
    layout = np.full(rows * cols, -1)
    layout[tissue] = np.arange(1, len(tissue) + 1)
    chosen = [brightest, *tissue]
    return Kinds([encoded[i] for i in chosen], pixels[chosen], layout.reshape(rows, cols), tags)


def lay_out(kinds: Kinds, count: int, seed: int) -> np.ndarray:
    """Return the kind of each of `count` x `count` tiles: smooth islands of tissue, neighbours as in the source."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.standard_normal((count, count)), max(0.8, count / 16), mode="constant")
    tissue = field > np.quantile(field, 1 - TISSUE_SHARE)
    rows, cols = kinds.layout.shape
    repeated = np.tile(kinds.layout, (-(-count // rows), -(-count // cols)))[:count, :count]
    spare = rng.integers(1, len(kinds.encoded), (count, count))
    return np.where(tissue, np.where(repeated < 0, spare, repeated), 0)


def reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Average (..., h, w, 3) uint8 over blocks of `factor` pixels a side, cropped to whole blocks."""
    *more, h, w = pixels.shape[:-1]
    h, w = h // factor, w // factor
    blocks = pixels[..., : h * factor, : w * factor, :].reshape(*more, h, factor, w, factor, 3)
    return np.rint(blocks.mean((-4, -2), dtype=np.float32)).astype(np.uint8)


def tiles_of(bands: Iterable[np.ndarray], side: int, smaller: list[np.ndarray] | None) -> Iterator[np.ndarray]:
    """Cut bands (h, w, 3) into tiles, the last ones padded by repeating the border; gather bands reduced by 4."""
    for band in bands:
        if smaller is not None:
            smaller.append(reduced(band, 4))
        h, w = band.shape[:2]
        padded = np.pad(band, ((0, -h % side), (0, -w % side), (0, 0)), mode="edge")
        for top in range(0, h, side):
            for left in range(0, w, side):
                yield np.ascontiguousarray(padded[top : top + side, left : left + side])


def compose(kinds: Kinds, places: np.ndarray, side: int, factor: int) -> Iterator[np.ndarray]:
    """Yield a lower level in bands of one tile's height, cropped to the level; `factor` divides the tile side."""
    small, size = reduced(kinds.pixels, factor), side // factor
    edge = small.shape[1]
    for row in range(0, len(places), factor):
        part = small[places[row : row + factor]].swapaxes(1, 2)
        yield part.reshape(part.shape[0] * edge, -1, 3)[: max(0, size - row * edge), :size]


def write(out: Path, side: int, pyramid: bool, source: Path, seed: int) -> None:
    """Write the slide; memory holds one band of tiles and the smallest level."""
    kinds = read_kinds(source)
    tile = kinds.pixels.shape[1]
    places = lay_out(kinds, -(-side // tile), seed)
    common = {"tile": (tile, tile), "photometric": "rgb", "compression": "jpeg", "dtype": np.uint8}
    common |= {"metadata": None, "software": False}

    def facts(factor: int) -> dict[str, Any]:
        size = side // factor
        text = f"Aperio Image Library v12.0\r\n{size}x{size} ({tile}x{tile}) JPEG/RGB|AppMag = {POWER}|MPP = {MPP}"
        return common | {"shape": (size, size, 3), "description": text}

    with tifffile.TiffWriter(out, bigtiff=True) as tiff:
        tiff.write((kinds.encoded[k] for k in places.ravel()), **facts(1), **kinds.tags)
        smaller: list[np.ndarray] = []
        for factor in DOWNSAMPLES if pyramid else ():
            if tile % factor == 0:
                bands = compose(kinds, places, side, factor)
            else:
                # The level before, four times larger, was reduced while it was written: it is small by now.
                bands = iter([np.concatenate(smaller)[: side // factor, : side // factor]])
            smaller = []
            tiles = tiles_of(bands, tile, smaller if tile % (4 * factor) else None)
            tiff.write(tiles, **facts(factor), **FINE)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--side", default=20_000, show_default=True, help="Width and height in pixels.")
@click.option("--pyramid", is_flag=True, help="Add levels 4, 16 and 64 times smaller.")
@click.option("--source", type=click.Path(exists=True, path_type=Path), help="A slide of JPEG tiles to repeat.")
@click.option("--seed", default=0, show_default=True)
def main(out: Path, side: int, pyramid: bool, source: Path | None, seed: int) -> None:
    """Write a large slide to OUT."""
    with tempfile.TemporaryDirectory() as folder:
        write(out, side, pyramid, source or default_source(Path(folder)), seed)
    click.echo(f"{out}: {side} x {side} px, {out.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
