"""All that is made of a heatmap of 2,000 x 2,000 patches, beside reading it back through Dask.

    python benchmarks/large_heatmap.py [--side 2000] [--repeat 3] [--patch-um 12.5]

The heatmap is smooth noise with islands of tissue, as of a 40x model. Measured are outlines and measurements, then the
files: heatmap with labels, GeoJSON, overview and their sum; medians of several turns, and the ratio to the reading.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click
import dask.array
import numpy as np
import shapely
from scipy.ndimage import gaussian_filter

from wsi_idc.annotations.formats.qupath import to_geojson
from wsi_idc.base.grid import Grid
from wsi_idc.heatmap.store import write_heatmap
from wsi_idc.regions.delineate import delineate
from wsi_idc.regions.interpolate import fine_grid, per_side
from wsi_idc.regions.outlining import Outlining
from wsi_idc.regions.regions import Region
from wsi_idc.runs.results.overview import Pictured, draw_overview

READING = "read through Dask"


def noise(side: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise, (side, side) in 0 to 1."""
    values = gaussian_filter(rng.standard_normal((side, side)).astype(np.float32), sigma)
    return (values - values.min()) / np.ptp(values)


def seconds(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def turn(folder: Path, heatmap: np.ndarray, tissue: np.ndarray, grid: Grid) -> tuple[dict[str, float], list[Region]]:
    """Make all of a heatmap once, in a folder; return the seconds of each part, and the regions."""
    thumbnail = np.full((1000, 1000, 3), 240, np.uint8)
    found = delineate(heatmap, grid, tissue, Outlining(0.5))
    labels = {"idc": found.numbers, "tissue": tissue.astype(np.uint8)}
    store = folder / "heatmap.zarr"
    facts = {"grid": asdict(grid)}
    none = np.zeros(heatmap.shape, bool)
    run = Pictured("noise", thumbnail, heatmap, none, tissue, grid, found.regions, found.slivers, 0.5, 0.5)
    work: dict[str, Callable[[], object]] = {
        "outline and measure": lambda: delineate(heatmap, grid, tissue, Outlining(0.5)),
        "heatmap": lambda: write_heatmap(store, heatmap, grid, labels, fine_grid(grid), facts),
        "GeoJSON": lambda: (folder / "regions.geojson").write_text(to_geojson(found.regions)),
        "overview": lambda: draw_overview(folder / "overview.png", run),
        READING: lambda: dask.array.from_zarr(str(store / "0")).compute(),
    }
    return {name: seconds(job) for name, job in work.items()}, found.regions


@click.command()
@click.option("--side", default=2000, show_default=True)
@click.option("--repeat", default=3, show_default=True)
@click.option("--patch-um", default=12.5, show_default=True)
def main(side: int, repeat: int, patch_um: float) -> None:
    """Print the seconds and the ratio."""
    rng = np.random.default_rng(0)
    grid = Grid((50 * side, 50 * side), (patch_um / 50, patch_um / 50), 50, patch_um / 50)
    tissue = noise(side, side / 20, rng) > 0.5
    heatmap = np.where(tissue, noise(side, side / 100, rng), np.nan).astype(np.float32)
    tissue = tissue.repeat(per_side(grid), 0).repeat(per_side(grid), 1)
    turns = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as place:
            times, regions = turn(Path(place), heatmap, tissue, grid)
            turns.append(times)
    middle = {name: statistics.median(times[name] for times in turns) for name in turns[0]}
    for name, value in middle.items():
        click.echo(f"{name:20} {value:8.3f} s")
    whole = sum(middle.values()) - middle[READING]
    corners = sum(len(shapely.get_coordinates(r.geometry)) for r in regions)
    click.echo(
        f"{len(regions)} regions, {corners} corners; all {whole:.2f} s, {whole / middle[READING]:.1f} of reading"
    )


if __name__ == "__main__":
    main()
