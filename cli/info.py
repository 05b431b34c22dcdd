"""`wsi-idc info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from wsi_idc.cli.options import json_option, mpp_option, print_table


@click.command()
@click.argument("slide", type=click.Path(exists=True, path_type=Path), metavar="SLIDE|FOLDER")
@mpp_option
@click.option("--series", type=click.IntRange(0), metavar="N", help="Which image of a file of several, from 0.")
@json_option
def info(slide: Path, mpp: float | None, series: int | None, as_json: bool) -> None:
    """Print what a slide is: format, size, scale and where it comes from, levels, images, what to beware of.

    Of a folder that is not one slide, print the slides in it, and which files count as such. Exit status 1 where
    segment would refuse the slide for its scale.
    """
    from wsi_idc.slides.paths.find import RULE, find_slides
    from wsi_idc.slides.slide import describe_slide

    left: list[Path] = []
    if slide.is_dir() and (found := find_slides([slide], on_left=left.append)) != [slide]:
        if as_json:
            listing = {"slides": [str(p) for p in found], "not_entered": [str(p) for p in left], "rule": RULE}
            click.echo(json.dumps(listing, indent=2))
        else:
            for folder in left:
                click.echo(f"{click.format_filename(folder)}: slides in it, for segment --recursive", err=True)
            click.echo("\n".join([*(click.format_filename(path) for path in found), f"{len(found)} found; {RULE}"]))
        return
    from wsi_idc.runs.results.warnings import look_for_warnings

    facts = describe_slide(slide, mpp, series)
    facts["warnings"] = look_for_warnings(slide, mpp, series) or facts["warnings"]
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
    click.echo(f"profile     {facts['icc_profile'] or 'none'}")
    click.echo(f"fingerprint {facts['fingerprint'][:16]}")
    rows = [("level", "width", "height", "downsample", "um/px")]
    for i, level in enumerate(facts["levels"]):
        sizes = (str(level["width"]), str(level["height"]))
        um = f"{level['mpp']:.4f}" if scale else "?"
        rows.append((str(i), *sizes, f"{level['downsample']:.4f}", um))
    print_table(rows)
    if len(facts["images"]) > 1:
        images = [("image", "width", "height", "um/px", "what", "name")]
        for image in facts["images"]:
            um = f"{image['mpp']:.4g}" if image["mpp"] else "?"
            sizes = (str(image["width"]), str(image["height"]))
            images.append((str(image["number"]), *sizes, um, image["role"], image["name"]))
        print_table(images)
    for warning in facts["warnings"]:
        click.echo(f"warning: {warning}")
