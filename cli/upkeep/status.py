"""`wsi-idc status`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsi_idc.cli.options import json_option, print_table
from wsi_idc.cli.progress import duration

if TYPE_CHECKING:
    from wsi_idc.runs.upkeep.status import Status


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@json_option
def status(output: Path, as_json: bool) -> None:
    """Say how far the slides of an output folder are: done, failed and why, running, time left.

    Rates are those of one process, from the slides that are done; the time left is a forecast.
    """
    from wsi_idc.runs.upkeep.status import read_status

    found = read_status(output)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2))
    else:
        _print(found)


def _print(found: Status) -> None:
    rows = [("state", "slides"), ("done", str(found.done))]
    rows += [(name, str(n)) for name, n in [("incomplete", found.incomplete), ("failed", len(found.failed))] if n]
    rows.append(("remaining", str(found.remaining)))
    rows += [(f"  {name}", str(n)) for name, n in [("running", found.running), ("interrupted", found.interrupted)] if n]
    print_table(rows)
    if found.slides_per_hour is not None and found.patches_per_s is not None:
        each = f" by each of {found.running} processes" if found.running > 1 else ""
        click.echo(f"rate: {found.slides_per_hour:.1f} slides an hour, {found.patches_per_s:.0f} patches/s{each}")
    if found.remaining and found.seconds_left is not None:
        at_work = "" if found.running else " once it runs"
        click.echo(f"forecast of the time left: {duration(found.seconds_left)}{at_work}")
    if found.interrupted:
        count = "a slide was" if found.interrupted == 1 else f"{found.interrupted} slides were"
        click.echo(f"{count} interrupted: run the same command again")
    for warned in found.warned:
        click.echo(f"warning: {click.format_filename(Path(warned['slide']).name)}: {warned['warnings']}")
    for failure in found.failed:
        name, reason = click.format_filename(failure["slide"]), failure["reason"]
        click.echo(f"failed: {reason if Path(name).name in reason else f'{name}: {reason}'}")
