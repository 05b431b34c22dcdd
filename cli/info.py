"""`wsi-idc info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from wsi_idc.cli.options import json_option, mpp_option, print_table


@click.command()
@click.argument("slide", type=click.Path(exists=True, path_type=Path))
@mpp_option
@json_option
def info(slide: Path, mpp: float | None, as_json: bool) -> None:
    """Print what a slide is: format, size, scale and where it comes from, levels.

    Exit status 1 where segment would refuse it for its scale.
    """
    from wsi_idc.slides.slide import describe_slide

    facts = describe_slide(slide, mpp)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        _print(facts)
    if facts["scale_problem"]:
        click.echo(f"error: {facts['scale_problem']}", err=True)
        raise click.exceptions.Exit(1)


def _print(facts: dict[str, Any]) -> None:
    scale = facts["mpp"]
    millimetres = f", {facts['width_mm']:g} x {facts['height_mm']:g} mm" if scale else ""
    known = f"{scale['x']:.6g} x {scale['y']:.6g} um/px, from {scale['source']}" if scale else "not known"
    click.echo(f"slide       {facts['slide']}  ({facts['vendor'] or 'unknown vendor'}, read by {facts['reader']})")
    click.echo(f"size        {facts['width']} x {facts['height']} px{millimetres}")
    click.echo(f"scale       {known}")
    click.echo(f"objective   {facts['objective_power'] or 'not stated'}")
    click.echo(f"bounds at   {facts['bounds_offset'][0]}, {facts['bounds_offset'][1]}")
    click.echo(f"background  #{bytes(facts['background']).hex()}")
    click.echo(f"fingerprint {facts['fingerprint'][:16]}")
    rows = [("level", "width", "height", "downsample", "um/px")]
    for i, level in enumerate(facts["levels"]):
        sizes = (str(level["width"]), str(level["height"]))
        um = f"{level['mpp']:.4f}" if scale else "?"
        rows.append((str(i), *sizes, f"{level['downsample']:.4f}", um))
    print_table(rows)
