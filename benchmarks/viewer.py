"""The viewer on a slide of 100,000 pixels a side with a heatmap of 2,000 x 2,000 patches.

    python benchmarks/viewer.py SLIDE [--side 2000] [--moves 12] [--tiles 60]

SLIDE is one that `make_slide.py` made (`--side 100000 --pyramid`). A run of smooth noise is put beside it, in a folder
that is removed again; the server is `wsi-idc view`, the browser Chromium, where the machine has one. Printed are, with
medians: tiles that nobody asked for before, through the server, to the same area read by OpenSlide alone; what the
server takes from a moved threshold to outlines, and to exact ones; and in the browser the time from the page's load to
the last tile of the first view, and from a moved slider to redrawn regions, the slowest too.
"""

from __future__ import annotations

import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
import openslide
from large_heatmap import noise

from wsi_idc import Settings, Slide, find_model
from wsi_idc.base.grid import Grid
from wsi_idc.demo.demo import run_demo
from wsi_idc.heatmap.store import write_heatmap
from wsi_idc.regions.interpolate import fine_grid, per_side
from wsi_idc.runs.results.identity import identify
from wsi_idc.viewer.tiles import TILE

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import BROWSER, Tab, wait_for


def make_run(folder: Path, slide: Slide, side: int) -> None:
    """Write what the viewer reads of a run: a heatmap of noise, and the summary of another run, as if of this slide."""
    rng = np.random.default_rng(0)
    grid = Grid(slide.size, (slide.mpp.x, slide.mpp.y), 50, slide.size[0] * slide.mpp.x / 50 / side)
    tissue = noise(side, side / 20, rng) > 0.5
    heatmap = np.where(tissue, noise(side, side / 100, rng), np.nan).astype(np.float32)[: grid.shape[0]]
    fine = tissue[: grid.shape[0]].repeat(per_side(grid), 0).repeat(per_side(grid), 1).astype(np.uint8)
    package, settings = find_model(), Settings(0.5, min_area_mm2=grid.patch_mm2)
    identity = identify(slide, package, settings)
    facts = identity | {
        "wsi_idc": version("wsi-idc"),
        "slide": slide.path.name,
        "model": package.name,
        "engine": "onnx",
    }
    facts |= {"patch_um": grid.patch_um, "grid": asdict(grid)}
    folder.mkdir()
    write_heatmap(folder / "heatmap.zarr", heatmap, grid, {"tissue": fine}, fine_grid(grid), facts)
    with tempfile.TemporaryDirectory() as beside:
        summary = run_demo(Path(beside)).outcome.summary
    summary |= {"slide": slide.describe(), "identity": identity, "parameters": identity["parameters"]}
    (folder / "summary.json").write_text(json.dumps(summary))


@contextmanager
def serving(*given: Path | str) -> Iterator[tuple[str, int]]:
    """Run `wsi-idc view` with what is given; gives its address and the number of its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "wsi_idc", "view", *given, "--port", str(port), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: _answers(address), 120)
        try:
            yield address, server.pid
        finally:
            server.send_signal(signal.SIGINT)


def _answers(address: str) -> bool:
    try:
        get(address)
    except OSError:
        return False
    return True


def get(address: str) -> bytes:
    """Return what an address answers."""
    with urllib.request.urlopen(address) as answer:
        content: bytes = answer.read()
    return content


def seconds(work: Any, *arguments: Any) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def tiles(address: str, slide: Path, size: tuple[int, int], count: int) -> tuple[list[float], list[float]]:
    """Return the seconds of tiles of all magnifications through the server, and of the same areas by OpenSlide."""
    levels = int(np.ceil(np.log2(max(size) / TILE)))
    rng = np.random.default_rng(1)
    served, alone = [], []
    with openslide.OpenSlide(slide) as plain:
        for number in range(count):
            level = levels - number % 6
            step = 2 ** (levels - level)
            column, row = (int(rng.integers(0, n // (TILE * step))) for n in size)
            served.append(seconds(get, f"{address}/of/it/tile/{level}/{column}/{row}"))
            best = plain.get_best_level_for_downsample(step)
            pixels = round(TILE * step / plain.level_downsamples[best])
            place = (column * TILE * step, row * TILE * step)

            def read(place: tuple[int, int] = place, best: int = best, pixels: int = pixels) -> None:
                plain.read_region(place, best, (pixels, pixels)).convert("RGB").resize((TILE, TILE))

            alone.append(seconds(read))
    return served, alone


def in_browser(address: str, folder: Path, moves: int) -> tuple[float, list[float]]:
    """Return seconds to the first view, and milliseconds from each move of the slider to redrawn regions."""
    tab = Tab(folder, address)
    try:
        pictures = "[...document.querySelectorAll('img.leaflet-tile')]"
        wait_for(lambda: tab.run(f"{pictures}.length && {pictures}.every(i => i.complete)"), 60)
        last = "Math.max(...performance.getEntriesByType('resource').filter(e => e.name.includes('/tile/'))"
        loaded = "performance.getEntriesByType('navigation')[0].loadEventEnd"
        first = float(str(tab.run(f"{last}.map(e => e.responseEnd)) - {loaded}"))) / 1000
        wait_for(lambda: "foc" in str(tab.run("document.querySelector('[aria-live]').textContent")), 60)
        for _ in range(moves):
            tab.press("]")
            time.sleep(0.5)
        return first, list(tab.run("performance.getEntriesByName('redraw').map(e => e.duration)"))  # type: ignore[call-overload]
    finally:
        tab.close()


@click.command()
@click.argument("slide", type=click.Path(exists=True, path_type=Path))
@click.option("--side", default=2000, show_default=True)
@click.option("--moves", default=12, show_default=True)
@click.option("--tiles", "count", default=60, show_default=True)
def main(slide: Path, side: int, moves: int, count: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        with Slide(slide) as opened:
            make_run(run, opened, side)
            size = opened.size
        with serving(run, "--slide", slide) as (address, _):
            get(f"{address}/of/it/regions?threshold=0.5")
            served, alone = tiles(address, slide, size, count)
            ratio = statistics.median(a / b for a, b in zip(served, alone, strict=True))
            click.echo(f"tile: {_ms(served)}, OpenSlide alone {_ms(alone)}; median of ratios {ratio:.2f}")
            box = f"left=0&top=0&right={size[0]}&bottom={size[1]}"
            steps = [0.5 + 0.01 * n for n in range(moves)]
            get(f"{address}/of/it/preview?threshold=0.5&{box}")
            hasty = [seconds(get, f"{address}/of/it/preview?threshold={t}&{box}") for t in steps]
            exact = [seconds(get, f"{address}/of/it/regions?threshold={t + 0.001}") for t in steps[:4]]
            click.echo(f"threshold moved: outlines {_ms(hasty)}; exact ones, at rest, {_ms(exact)}")
            if BROWSER:
                first, redrawn = in_browser(address, Path(place) / "profile", moves)
                click.echo(f"first view after load: {first:.2f} s")
                click.echo(f"slider to redrawn: {_ms([r / 1000 for r in redrawn])}, of {len(redrawn)} moves")


def _ms(values: list[float]) -> str:
    return f"{1000 * statistics.median(values):.0f} ms (slowest {1000 * max(values):.0f})"


if __name__ == "__main__":
    main()
