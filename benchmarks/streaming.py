"""How near `wsi-idc segment` comes to what has to be done, decoding and computing, and what being killed costs.

    python benchmarks/streaming.py [--quick] [--json FILE] [--figure FILE] [--only NAME]...

Prints a table in Markdown: each figure is a ratio of two measurements of this very run, which take turns where they
are repeated, or a count, beside the bar that it is held to. The slides are made by `make_slide.py` and the painter, in
a temporary folder of 3 GB. NAME is flat, at-40x, pyramid, large, folder, kills, cluster or tiled. --quick takes smaller
or fewer slides and measures once: it shows that all works, not how fast. --figure draws where the time of whole
commands goes.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from bench import SEGMENT, THREADS, Bench, Figure, measured, model_at_40x, seconds
from interrupted import cluster, kills
from readers import tile_ways

from wsi_idc import Settings, Slide, find_model, read_heatmap
from wsi_idc.base.grid import Grid
from wsi_idc.heatmap import assemble as finish
from wsi_idc.models.registry import DEFAULT_MODEL
from wsi_idc.runs.run import Runner
from wsi_idc.tissue.tissue import find_tissue


@dataclass(slots=True)
class ZeroEngine:
    """Takes no time to compute, and finds nothing."""

    n_features: int
    name: str = "onnx"
    batch_size: int = 256
    lanes: int = 1

    def run(self, network: str, *inputs: np.ndarray) -> np.ndarray:
        """Return zeros in the form that is asked for; see `inference.Engine.run`."""
        shape = (len(inputs[0]), self.n_features) if network == "encoder" else inputs[1].shape
        return np.zeros(shape, np.float32)


def decode(way: Callable[[tuple[int, int]], object], spots: list[tuple[int, int]]) -> None:
    """Decode tiles on two threads, keeping none."""
    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(lambda spot: way(spot) is None, spot) for spot in spots]:
            future.result()


def flat(bench: Bench) -> list[Figure]:
    """Flat 40x slides, in a process that is warm, beside decoding their tiles on two threads."""
    real = Runner(find_model(), Settings())
    # Many scanners have a scale of which 4 um/px is no whole multiple.
    zero, odd = Runner(real.package, Settings()), Runner(real.package, Settings(mpp=0.2525))
    for runner in (zero, odd):
        runner.engines["onnx"] = ZeroEngine(real.predictor(1).n_features)
    runners = {
        "engine of zeros": (zero, 1.15),
        "shipped model": (real, 1.6),
        "zeros, read as 0.2525 um/px": (odd, 1.4),
    }
    for runner, _ in runners.values():
        runner.run(bench.slide(4_000), bench.output())
    figures = []
    for side in (20_000,) if bench.quick else (20_000, 50_000):
        path, ways = bench.slide(side), tile_ways(bench.slide(side))
        with Slide(path) as slide:
            tissue = find_tissue(slide, THREADS)
            tile = ways["imagecodecs, raw tiles"][0]
            share = Grid(slide.size, (slide.mpp.x, slide.mpp.y), tile, slide.mpp.x).share(tissue.mask, tissue.um)
        spots = [(int(c) * tile, int(r) * tile) for r, c in np.argwhere(share >= 0)]
        touched = [spot for spot, s in zip(spots, share.ravel(), strict=True) if s > 0]
        full, half = (ways[name][1] for name in ("imagecodecs, raw tiles", "Pillow 1/2, raw tiles"))
        floors = {"full": (full, touched), "half": (half, touched), "all at half": (half, spots)}
        if "cuCIM, tiles" in ways:
            floors["cuCIM"] = (ways["cuCIM, tiles"][1], touched)
        times: dict[str, list[tuple[float, float]]] = {}
        for _ in range(bench.repeat if side < 50_000 else 2):
            for name, (way, at) in floors.items():
                times.setdefault(name, []).append(seconds(lambda way=way, at=at: decode(way, at)))
            for name, (runner, _) in runners.items():
                times.setdefault(name, []).append(seconds(lambda r=runner, p=path: r.run(p, bench.output())))
        bench.raw[path.stem] = times | {"tiles": len(spots), "tissue_tiles": len(touched)}
        middle = {name: np.median(values, axis=0) for name, values in times.items()}
        for name, (_, bar) in runners.items():
            took, tissues, halves, whole = (middle[n] for n in (name, "full", "half", "all at half"))
            behind = f"{took[0]:.2f} s; {len(touched)} of {len(spots)} tiles in {tissues[0]:.2f} s; of CPU "
            behind += (
                f"{took[1] / tissues[1]:.2f}; {took[0] / halves[0]:.2f} of decoding these at 1/2, as the reader does, "
            )
            behind += f"{took[0] / whole[0]:.2f} of all tiles at 1/2"
            if "cuCIM" in middle:
                behind += f"; {took[0] / middle['cuCIM'][0]:.2f} of decoding these with cuCIM"
            what = f"flat {side // 1000}k, {name}: time / time to decode the tiles of tissue"
            figures.append(Figure(what, float(took[0] / tissues[0]), bar, behind))
    return figures


def at_40x(bench: Bench) -> list[Figure]:
    """Models that see patches of 0.25 um/px, the default one and a small CNN: their engine has to be kept busy."""
    return [_at_40x(bench, name) for name in (DEFAULT_MODEL, "idc-patch")]


def _at_40x(bench: Bench, name: str) -> Figure:
    package, path = model_at_40x(bench, name), bench.slide(4_000 if bench.quick else 20_000)
    runner = Runner(package, Settings(engine="onnx"))
    predictor, side = runner.predictor(1), 32
    with Slide(path) as slide:
        middle = (s / 2 for s in slide.size)
        pixels = slide.read(*middle, side * package.patch_size, side * package.patch_size, 0.25)
    present, blocks = np.ones((side, side), bool), 1 if bench.quick else 16
    alone, whole, found = [], [], 0
    for _ in range(1 if bench.quick else 5):
        taken = seconds(lambda: [predictor.block(pixels, present) for _ in range(blocks)])
        alone.append([blocks * present.size / t for t in taken])
        output = bench.output()
        taken = seconds(lambda output=output: runner.run(path, output))
        summary = json.loads((output / "summary.json").read_text())
        found = summary["patches"]
        whole.append([found / t for t in taken])
        bench.raw.setdefault(f"{package.name} stages", []).append(summary["timings"])
    bench.raw[f"{package.name} patches/s"] = {"whole": whole, "engine alone": alone}
    (rate, of_cpu), (base, base_cpu) = np.median(whole, axis=0), np.median(alone, axis=0)
    behind = f"{found} patches at {rate:.0f}/s; the engine alone {base:.0f}/s; of CPU {of_cpu / base_cpu:.2f}"
    what = f"{name} as a 40x model: patches/s from slide to report / of the engine on arrays"
    return Figure(what, float(rate / base), 0.9, behind, at_least=True)


def pyramid(bench: Bench) -> list[Figure]:
    """A slide with lower levels, from start to exit."""
    path, imports, times = bench.slide(50_000, pyramid=True), [], []
    for _ in range(bench.repeat):
        imports.append(measured([sys.executable, "-c", "import tensorflow"])[0])
        times.append(bench.segment(path)["seconds"])
    bench.raw["import tensorflow"] = imports
    whole, base = statistics.median(times), statistics.median(imports)
    what = "pyramid 50k: whole command / `import tensorflow` in an empty process"
    return [Figure(what, whole / base, 2, f"{whole:.2f} s; {base:.2f} s")]


def large(bench: Bench) -> list[Figure]:
    """The whole command on a large slide beside a small one: memory, and time for an area of tissue."""
    runs: dict[int, list[dict[str, Any]]] = {20: [], (40 if bench.quick else 100): []}
    for number in range(bench.repeat):
        for side in runs:
            # One run of the largest takes a minute.
            if side < 100 or number == 0:
                runs[side].append(bench.segment(bench.slide(side * 1000)))

    def beside(what: str, bar: float, unit: str, value: Callable[[dict[str, Any]], float]) -> Figure:
        small, big = (statistics.median(map(value, of_one)) for of_one in runs.values())
        return Figure(f"{sides}: {what}", big / small, bar, f"{big:.3g} {unit}; {small:.3g} {unit}")

    sides, biggest = " / ".join(f"{side}k flat" for side in reversed(runs)), max(runs)
    peak, area = max(run["peak_mb"] for run in runs[biggest]), runs[biggest][0]["tissue_mm2"]
    stages = ("tissue_s", "stream_s", "write_s")
    return [
        beside("peak memory", 1.15, "MiB", lambda run: run["peak_mb"]),
        Figure(f"{biggest}k flat: peak memory in GiB", peak / 1024, 1.5, f"{area:.0f} mm2 of tissue"),
        beside(
            "time per mm2 of tissue, start-up taken off",
            1.1,
            "s",
            lambda run: sum(run[stage] for stage in stages) / run["tissue_mm2"],
        ),
        beside("time per mm2 of tissue, whole command", 1.1, "s", lambda run: run["seconds"] / run["tissue_mm2"]),
    ]


def many(bench: Bench) -> list[Figure]:
    """Many small slides, one core for each worker."""
    slides, cores = bench.sections(40 if bench.quick else 200), sorted(os.sched_getaffinity(0))
    rates, cpu = {}, {}
    for workers in (1, 2):
        held = ["taskset", "-c", ",".join(map(str, cores[:workers]))]
        command = [*held, *SEGMENT, slides[0].parent, "-o", bench.output(), "--workers", str(workers)]
        took, _, used = measured(command)
        rates[workers], cpu[workers] = len(slides) / took, used / len(slides)
    bench.raw["folder"] = {"slides/s": rates, "cpu_s a slide": cpu}
    behind = f"{rates[2]:.2f} slides/s; {rates[1]:.2f} slides/s; CPU a slide {cpu[2]:.2f} s; {cpu[1]:.2f} s"
    what = f"{len(slides)} small slides: rate with 2 workers on 2 cores / with 1 on 1"
    return [Figure(what, rates[2] / rates[1], 1.7, behind, at_least=True)]


def tiled(bench: Bench) -> list[Figure]:
    """The heatmap of a slide in one chunk beside that in many, by several threads, in batches of several sizes."""
    slide = bench.sections(8)[1] if bench.quick else bench.slide(20_000)
    whole, largest, runs = None, 0.0, list(itertools.product((64, 16, 3), (1, 2, 4), (16, 1, 64)))
    for chunk, workers, batch in runs:
        runner = Runner(find_model(), Settings(chunk=chunk, threads=workers, engine="onnx"))
        runner.predictor(1).engine.batch_size = batch
        # Else a slide of this size is put together as a whole, however its chunks were encoded.
        finish._TOGETHER = chunk
        heatmap, _ = read_heatmap(runner.run(slide, bench.output()).heatmap)
        whole = heatmap if whole is None else whole
        differs = np.where(np.isnan(heatmap) & np.isnan(whole), 0, np.abs(heatmap - whole))
        largest = float(np.maximum(largest, differs.max()))
    bench.raw["tiled"] = largest
    behind = f"{len(runs)} runs: chunks of 64 (all), 16, 3; 1, 2, 4 threads; batches of 16, 1, 64"
    return [Figure("tiled = whole: largest difference of a probability", largest, 1e-6, behind)]


FIGURES = {"flat": flat, "at-40x": at_40x, "pyramid": pyramid, "large": large}
FIGURES |= {"folder": many, "kills": kills, "cluster": cluster, "tiled": tiled}


def stages(run: dict[str, Any]) -> dict[str, float]:
    """Return the share of a whole command that each of its stages takes."""
    wall = {key.removesuffix("_s"): run[key] for key in ("open_s", "tissue_s", "engine_s", "stream_s", "write_s")}
    wall = {"start-up and exit": run["seconds"] - sum(wall.values()), **wall}
    return {name: value / run["seconds"] for name, value in wall.items()}


def draw(file: Path, commands: dict[str, list[dict[str, Any]]]) -> None:
    """Draw the stages of the quickest command on each slide as shares of its time."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(8, 1 + 0.5 * len(commands)), layout="constrained")
    axes, quickest = canvas.subplots(), {n: min(runs, key=lambda r: r["seconds"]) for n, runs in commands.items()}
    shares = {f"{name}\n{run['seconds']:.1f} s": stages(run) for name, run in quickest.items()}
    left = np.zeros(len(shares))
    for stage in next(iter(shares.values())):
        widths = np.array([share[stage] for share in shares.values()])
        axes.barh(list(shares), widths, left=left, label=stage)
        left += widths
    axes.set(xlim=(0, 1), xlabel="share of the time of the command")
    canvas.legend(loc="outside upper center", ncols=6, frameon=False, fontsize="small")
    canvas.savefig(file, dpi=120)


@click.command()
@click.option("--quick", is_flag=True, help="Smaller slides, measured once.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
@click.option("--figure", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, type=click.Choice(list(FIGURES)))
def main(quick: bool, json_file: Path | None, figure: Path | None, only: tuple[str, ...]) -> None:
    """Print the table in Markdown, and write the numbers and the picture where asked."""
    click.echo("| figure | measured | bar | met | behind it |\n|---|---:|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        bench, found = Bench(Path(place), quick), []
        for name in only or FIGURES:
            for result in FIGURES[name](bench):
                click.echo(result.row())
                found.append(asdict(result))
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    facts = {"date": date, "cores": len(os.sched_getaffinity(0)), "quick": quick}
    if json_file:
        json_file.write_text(json.dumps(facts | {"figures": found, "raw": bench.raw}, indent=2) + "\n")
    if figure and "commands" in bench.raw:
        draw(figure, bench.raw["commands"])


if __name__ == "__main__":
    main()
