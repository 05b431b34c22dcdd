"""`wsi-idc info`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from wsi_idc.cli.options import echo, json_option, mpp_option, print_table
from wsi_idc.errors import DataError, SlideError


@click.command()
@click.argument("slide", type=click.Path(exists=True, path_type=Path), metavar="SLIDE|FOLDER")
@mpp_option
@click.option("--series", type=click.IntRange(0), metavar="N", help="Which image of a file of several, from 0.")
@json_option
def info(slide: Path, mpp: float | None, series: int | None, as_json: bool) -> None:
    """Print what a slide is: format, size, scale and where it comes from, levels, images, what to beware of.

    Of a folder that is not one slide, print the slides in it, and which files count as such. Exit status 1 where
    segment would refuse the slide for its scale, or where what lies in the folder may not be read.
    """
    from wsi_idc.slides.paths.find import RULE, find_slides
    from wsi_idc.slides.slide import describe_slide

    left: list[Path] = []
    try:
        found = find_slides([slide], on_left=left.append)
    except DataError:
        echo(RULE, err=True)
        raise
    if slide.is_dir() and found != [slide]:
        unreadable = _unreadable(found)
        if as_json:
            listing = {"slides": [str(p) for p in found], "not_entered": [str(p) for p in left], "rule": RULE}
            echo(json.dumps(listing | {"unreadable": unreadable}, indent=2))
        else:
            for folder in left:
                echo(f"{click.format_filename(folder)}: slides in it, for segment --recursive", err=True)
            echo("\n".join([*(click.format_filename(path) for path in found), f"{len(found)} found; {RULE}"]))
            for reason in unreadable:
                echo(f"error: {reason}", err=True)
        if unreadable:
            raise click.exceptions.Exit(1)
        return
    from wsi_idc.runs.results.warnings import look_for_warnings

    facts = describe_slide(slide, mpp, series)
    facts["warnings"] = look_for_warnings(slide, mpp, series) or facts["warnings"]
    if as_json:
        echo(json.dumps(facts, indent=2))
    else:
        _print(facts)
    if facts["scale_problem"]:
        echo(f"error: {facts['scale_problem']}", err=True)
        raise click.exceptions.Exit(1)


def _unreadable(slides: Sequence[Path]) -> list[str]:
    """Say of each slide that cannot be looked at, or may not be read, why."""
    from wsi_idc.slides.paths.find import file_to_open

    reasons = []
    for slide in slides:
        try:
            file_to_open(slide, slide)
        except SlideError as error:
            reasons.append(str(error))
    return reasons


def _print(facts: dict[str, Any]) -> None:
    scale = facts["mpp"]
    millimetres = f", {facts['width_mm']:g} x {facts['height_mm']:g} mm" if scale else ""
    known = f"{scale['x']:.6g} x {scale['y']:.6g} um/px, from {scale['source']}" if scale else "not known"
    echo(f"slide       {facts['slide']}  ({facts['vendor'] or 'unknown vendor'}, read by {facts['reader']})")
    echo(f"size        {facts['width']} x {facts['height']} px{millimetres}")
    echo(f"scale       {known}")
    echo(f"objective   {facts['objective_power'] or 'not stated'}")
    echo(f"bounds at   {facts['bounds_offset'][0]}, {facts['bounds_offset'][1]}")
    echo(f"background  #{bytes(facts['background']).hex()}")
    echo(f"profile     {facts['icc_profile'] or 'none'}")
    echo(f"fingerprint {facts['fingerprint'][:16]}")
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
        echo(f"warning: {warning}")
