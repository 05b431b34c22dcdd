"""`wsi-idc info`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wsi_idc.cli.options import json_option, mpp_option, print_table


@click.command()
@click.argument("slide", type=click.Path(exists=True, path_type=Path))
@mpp_option
@json_option
def info(slide: Path, mpp: float | None, as_json: bool) -> None:
    """Print what a slide is: format, size, scale and where it comes from, levels."""
    from wsi_idc.slide import Slide

    with Slide(slide, mpp) as opened:
        facts = opened.describe()
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    scale = facts["mpp"]
    click.echo(f"slide       {facts['slide']}  ({facts['vendor'] or 'unknown vendor'}, read by {facts['reader']})")
    click.echo(
        f"size        {facts['width']} x {facts['height']} px, {facts['width_mm']:g} x {facts['height_mm']:g} mm"
    )
    click.echo(f"scale       {scale['x']:.6g} x {scale['y']:.6g} um/px, from {scale['source']}")
    click.echo(f"objective   {facts['objective_power'] or 'not stated'}")
    click.echo(f"bounds at   {facts['bounds_offset'][0]}, {facts['bounds_offset'][1]}")
    click.echo(f"background  #{bytes(facts['background']).hex()}")
    click.echo(f"fingerprint {facts['fingerprint'][:16]}")
    rows = [("level", "width", "height", "downsample", "um/px")]
    for i, level in enumerate(facts["levels"]):
        sizes = (str(level["width"]), str(level["height"]))
        rows.append((str(i), *sizes, f"{level['downsample']:.4f}", f"{level['mpp']:.4f}"))
    print_table(rows)
