"""What manifest.csv costs at a million slides: a change of it, and `wsi-idc status`.

    python benchmarks/manifest_scale.py [--slides 1000000] [--folder FOLDER]

The table is made, not computed: nine tenths done, most of the rest failed. Changes are to cost the same however many
slides there are, so they are made on a table of a hundredth of it too.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click
from bench import measured

from wsi_idc.runs.manifest import Manifest

CHANGES = 2000


def rows(count: int) -> list[dict[str, object]]:
    """Make rows as a run of so many slides leaves them."""
    done = {"state": "done", "seconds": 12.34, "tissue_mm2": 123.4, "idc_mm2": 12.3, "idc_share": 0.1, "foci": 2}
    done |= {"largest_extent_mm": 4.1, "patches": 2133, "failed_chunks": 0}
    others = {"state": "failed", "reason": "cannot be read"}, {"state": "pending"}
    return [
        {"slide": f"/archive/2026/case-{n:07}/slide-{n:07}.svs", "output": f"slide-{n:07}"}
        | (done if n % 10 else others[n % 100 == 0])
        for n in range(count)
    ]


def change(path: Path, count: int) -> float:
    """Return the milliseconds of processor time that a change takes, rewriting of the table included."""
    table = rows(count)
    Manifest(path).add(table)
    manifest, start = Manifest(path), time.process_time()
    for n in range(CHANGES):
        manifest.update({**table[n % count], "state": "running"})
    return 1000 * (time.process_time() - start) / CHANGES


@click.command()
@click.option("--slides", default=1_000_000, show_default=True)
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Where to make it.")
def main(slides: int, folder: Path | None) -> None:
    """Print what a change costs at two sizes, then the time and memory of `wsi-idc status`."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for count in (slides // 100, slides):
            path = Path(place) / str(count) / "manifest.csv"
            click.echo(f"{count:9,} slides: {change(path, count):.3f} ms a change")
        command = [sys.executable, "-m", "wsi_idc", "status", str(path.parent), "--json"]
        seconds, mib, _ = measured(command)
        click.echo(f"status: {seconds:.1f} s, {mib:.0f} MiB at most")


if __name__ == "__main__":
    main()
