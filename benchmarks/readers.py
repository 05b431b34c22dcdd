"""Level-0 megapixels per second of each way to read a slide of JPEG tiles: of CPU, on one thread, on two.

    python benchmarks/readers.py SLIDE [--side 8000] [--repeat 3] [--json FILE]

SLIDE is an Aperio slide or a tiled TIFF of JPEG tiles (`make_slide.py` writes one). The square of `--side` pixels in
its middle is read tile by tile by each decoder, and by blocks of whole tiles through OpenSlide; and the whole slide, at
most twice that side, by chunks of 8x8 patches at 4 um/px, nearly as `wsi-idc segment` reads it. cuCIM takes part where
it is installed. The ways take turns; rates of CPU are medians and hold on a busy machine too, the others the best of
all turns. Ratios are to OpenSlide's read_region or, for chunks, to the same through OpenSlide.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import imagecodecs
import numpy as np
import openslide
import tifffile
from PIL import Image

from wsi_idc.slides import slide as slide_module
from wsi_idc.slides.open import Opened, open_file
from wsi_idc.slides.openslide_reader import OpenSlideReader
from wsi_idc.slides.slide import Slide

# Pixels a side of what is read of level 0 at once, and of a chunk of 8x8 patches of 50 px at 4 um/px.
BLOCK, CHUNK, MPP = 2048, 400, 4.0
# The base of the ratios of each group.
BASES = {"tile": "OpenSlide read_region", "chunk": "chunks, OpenSlide"}
Work = Callable[[tuple[int, int]], object]


def tile_ways(path: Path) -> dict[str, tuple[int, Work]]:
    """Return what reads the level-0 pixels from (x, y): name, side in pixels of what it reads, function."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        offsets, sizes, tables = page.dataoffsets, page.databytecounts, page.jpegtables or b""
        side, across = page.tilewidth, -(-page.imagewidth // page.tilewidth)
        colours = "YCbCr" if page.photometric == tifffile.PHOTOMETRIC.YCBCR else "RGB"
    handle, data = openslide.OpenSlide(path), path.open("rb")
    raw = np.memmap(data, np.uint8, "r")

    def stream(at: tuple[int, int]) -> bytes:
        index = at[1] // side * across + at[0] // side
        return raw[offsets[index] : offsets[index] + sizes[index]].tobytes()

    def full(at: tuple[int, int]) -> object:
        return imagecodecs.jpeg8_decode(stream(at), tables=tables or None, colorspace=colours, outcolorspace="RGB")

    def scaled(factor: int) -> Work:
        def decode(at: tuple[int, int]) -> object:
            merged = tables[:-2] + stream(at)[2:] if tables else stream(at)
            size = side // factor, side // factor
            return np.asarray(Image.frombytes("RGB", size, merged, "jpeg", ("RGB", colours, factor, 0)))

        return decode

    block = BLOCK // side * side
    ways: dict[str, tuple[int, Work]] = {
        BASES["tile"]: (block, lambda at: np.asarray(handle.read_region(at, 0, (block, block)))),
        "imagecodecs, raw tiles": (side, full),
    }
    if importlib.util.find_spec("cucim"):
        cucim = importlib.import_module("cucim").CuImage(str(path))
        ways["cuCIM read_region"] = (block, lambda at: np.asarray(cucim.read_region(at, (block, block), 0)))
        ways["cuCIM, tiles"] = (side, lambda at: np.asarray(cucim.read_region(at, (side, side), 0)))
    return ways | {f"Pillow 1/{f}, raw tiles": (side, scaled(f)) for f in (1, 2, 4, 8)}


def chunk_ways(path: Path) -> dict[str, tuple[int, Work]]:
    """Return what reads chunks at the scale of a model, through `Slide`."""
    found: dict[str, tuple[int, Work]] = {}

    def by_openslide(path: Path, _series: int | None = None) -> Opened:
        return Opened(OpenSlideReader(path))

    for name, opener in ((BASES["chunk"], by_openslide), ("chunks, wsi_idc", open_file)):
        slide_module.open_file = opener
        slide = Slide(path)
        side = round(CHUNK * MPP / slide.mpp.x)
        found[name] = side, lambda at, slide=slide: slide.read(*at, CHUNK, CHUNK, MPP)  # type: ignore[misc]
    slide_module.open_file = open_file
    return found


def rates(way: tuple[int, Work], start: tuple[int, int], side: int, threads: int) -> tuple[float, float]:
    """Read a square of level 0 in steps of a way; return megapixels per second, and per second of CPU."""
    step, work = way
    x, y = (s // step * step for s in start)
    count = max(1, side // step)

    def once(at: tuple[int, int]) -> None:
        work(at)  # and let go of the pixels

    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter(), time.process_time()
        list(pool.map(once, [(x + i * step, y + j * step) for j in range(count) for i in range(count)]))
        taken = time.perf_counter() - started[0], time.process_time() - started[1]
    megapixels = (count * step) ** 2 / 1e6
    return megapixels / taken[0], megapixels / taken[1]


@click.command()
@click.argument("path", metavar="SLIDE", type=click.Path(exists=True, path_type=Path))
@click.option("--side", default=8000, show_default=True)
@click.option("--repeat", default=3, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(path: Path, side: int, repeat: int, json_file: Path | None) -> None:
    """Print the table in Markdown, and write the numbers where asked."""
    with openslide.OpenSlide(path) as handle:
        size = handle.dimensions
    middle = (max(0, (size[0] - side) // 2), max(0, (size[1] - side) // 2))
    groups = {"tile": (tile_ways(path), middle, side), "chunk": (chunk_ways(path), (0, 0), 2 * side)}
    found: dict[str, list[list[float]]] = {}
    for _ in range(repeat):
        for ways, start, extent in groups.values():
            for name, way in ways.items():
                (one, cpu), (two, _) = (rates(way, start, min(extent, *size), threads) for threads in (1, 2))
                found.setdefault(name, []).append([cpu, one, two])
    best = {name: [statistics.median(v[0] for v in values), *np.max(values, 0)[1:]] for name, values in found.items()}
    click.echo("| way | Mpx per CPU s | ratio | Mpx/s, 1 thread | ratio | Mpx/s, 2 threads | ratio |")
    click.echo("|---|---:|---:|---:|---:|---:|---:|")
    for group, (ways, *_) in groups.items():
        for name in ways:
            base = best[BASES[group]]
            cells = [f"{rate:.0f} | {rate / b:.1f}" for rate, b in zip(best[name], base, strict=True)]
            click.echo(f"| {name} | {' | '.join(cells)} |")
    if json_file:
        json_file.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
