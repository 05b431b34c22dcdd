"""`wsi-idc status`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsi_idc.base.disk.trouble import said_bytes
from wsi_idc.cli.options import echo, json_option, print_table
from wsi_idc.cli.progress import duration

if TYPE_CHECKING:
    from wsi_idc.runs.upkeep.clean import Removed
    from wsi_idc.runs.upkeep.status import Status


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--clean",
    is_flag=True,
    help="Remove first what no run will want: what is unfinished of slides that are done, of another version, or of a "
    "model or settings left since; half written results and locks of processes that were killed. What is in use stays.",
)
@json_option
def status(output: Path, clean: bool, as_json: bool) -> None:
    """Say how far the slides of an output folder are: done, failed and why, running, time left.

    Rates are those of one process, from the slides that are done; the time left is a forecast. Where manifest.csv lags
    behind the results of slides, these count; --clean writes it anew.
    """
    from wsi_idc.runs.upkeep.status import read_status

    removed, in_use = _clean(output) if clean else ([], [])
    found = read_status(output)
    if as_json:
        facts = dataclasses.asdict(found)
        if clean:
            facts["removed"] = [{"path": str(r.path), "bytes": r.size, "why": r.why} for r in removed]
            facts["in_use"] = [str(folder) for folder in in_use]
        echo(json.dumps(facts, indent=2))
        return
    for gone in removed:
        echo(f"removed {click.format_filename(gone.path)} ({said_bytes(gone.size)}): {gone.why}")
    if clean:
        echo(f"removed {said_bytes(sum(gone.size for gone in removed))} in all")
    for folder in in_use:
        echo(f"in use, left alone: {click.format_filename(folder)}")
    _print(found)


def _clean(output: Path) -> tuple[list[Removed], list[Path]]:
    from wsi_idc.runs.upkeep.clean import clean

    return clean(output)


def _print(found: Status) -> None:
    from wsi_idc.runs.results.identity import said_of_mixed

    rows = [("state", "slides"), ("done", str(found.done))]
    if found.not_looked_at:
        rows.append(("  nothing looked at", str(len(found.not_looked_at))))
    rows += [(name, str(n)) for name, n in [("incomplete", found.incomplete), ("failed", len(found.failed))] if n]
    rows.append(("remaining", str(found.remaining)))
    rows += [(f"  {name}", str(n)) for name, n in [("running", found.running), ("interrupted", found.interrupted)] if n]
    print_table(rows)
    if found.slides_per_hour is not None and found.patches_per_s is not None:
        each = f" by each of {found.running} processes" if found.running > 1 else ""
        echo(f"rate: {found.slides_per_hour:.1f} slides an hour, {found.patches_per_s:.0f} patches/s{each}")
    if found.remaining and found.seconds_left is not None:
        at_work = "" if found.running else " once it runs"
        echo(f"forecast of the time left: {duration(found.seconds_left)}{at_work}")
    if found.interrupted:
        count = "a slide was" if found.interrupted == 1 else f"{found.interrupted} slides were"
        echo(f"{count} interrupted: run the same command again")
    if mixed := said_of_mixed(found.made_by):
        echo(mixed)
    # By their paths: two folders may hold slides of one name.
    for slide in found.not_looked_at:
        echo(f"{click.format_filename(slide['slide'])}: {slide['reason']}")
    for warned in found.warned:
        echo(f"warning: {click.format_filename(warned['slide'])}: {warned['warnings']}")
    for partial in found.in_part:
        echo(f"incomplete: {click.format_filename(partial['slide'])}: {partial['reason']}")
    for failure in found.failed:
        name, reason = click.format_filename(failure["slide"]), failure["reason"]
        echo(f"failed: {reason if Path(name).name in reason else f'{name}: {reason}'}")
