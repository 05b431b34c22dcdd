"""Time `wsi-idc segment` on a slide, from start to exit, beside `import tensorflow` in an empty process.

    python benchmarks/segment_time.py sections/10274.tif [--repeat 5] [--json FILE]

Both run in turn, so that a busy machine slows both; the table gives medians and the ratio. The share of each stage
comes from summary.json; start-up and exit are what is left of the whole command.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click


def seconds(command: list[str]) -> float:
    """Run a command to its end and return its wall time."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


@click.command()
@click.argument("slide", type=click.Path(exists=True, path_type=Path))
@click.option("--repeat", default=5, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(slide: Path, repeat: int, json_file: Path | None) -> None:
    """Print the table, and write the numbers where asked."""
    times: dict[str, list[float]] = {"import tensorflow": [], "wsi-idc --help": [], "wsi-idc segment": []}
    stages: list[dict[str, float]] = []
    for _ in range(repeat):
        times["import tensorflow"].append(seconds([sys.executable, "-c", "import tensorflow"]))
        times["wsi-idc --help"].append(seconds([sys.executable, "-m", "wsi_idc", "--help"]))
        with tempfile.TemporaryDirectory() as folder:
            took = seconds([sys.executable, "-m", "wsi_idc", "segment", str(slide), "-o", folder])
            timings = json.loads((Path(folder) / slide.stem / "summary.json").read_text())["timings"]
            times["wsi-idc segment"].append(took)
            stages.append({"start-up and exit": took - timings["wall_s"]} | timings)
    medians = {name: statistics.median(values) for name, values in times.items()}
    base = medians["import tensorflow"]
    for name, median in medians.items():
        spread = f"{min(times[name]):.2f} to {max(times[name]):.2f}"
        click.echo(f"{name:20}{median:7.2f} s  ({spread} s)  {median / base:6.3f} of import tensorflow")
    parts = {key: statistics.median(s[key] for s in stages) for key in stages[0]}
    for key, value in parts.items():
        if key != "wall_s" and not key.endswith("threads_s"):
            click.echo(f"  {key.removesuffix('_s'):20}{value:6.2f} s {value / medians['wsi-idc segment']:6.1%}")
    click.echo(f"  within stream, all threads: reading {parts['read_threads_s']:.2f} s, ", nl=False)
    click.echo(f"inference {parts['infer_threads_s']:.2f} s (waiting for the engine included)")
    if json_file:
        json_file.write_text(json.dumps({"times_s": times, "stages_s": stages}, indent=2) + "\n")


if __name__ == "__main__":
    main()
