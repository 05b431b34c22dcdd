"""`wsi-idc delineate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from wsi_idc.cli.options import echo, given, json_option, overwrite_option, setting_options, usage_errors
from wsi_idc.regions.outlining import Outlining


@click.command()
@click.argument("heatmap", metavar="RUN|HEATMAP.zarr", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="New folder.")
@overwrite_option
@setting_options(Outlining, default="as in the run")
@json_option
def delineate(heatmap: Path, output: Path, overwrite: bool, as_json: bool, **options: Any) -> None:
    """Outline the heatmap of a run again, without computing it again: regions, numbers and a picture.

    Writes regions.geojson, measurements.json and overview.png. What is not given is as it was in the run.
    """
    from wsi_idc.runs.again import delineate_again
    from wsi_idc.runs.results.words import counted_foci, nothing_looked_at

    with usage_errors():
        delineate_again(heatmap, output, overwrite, **given(options))
    facts = json.loads((output / "measurements.json").read_text(encoding="utf-8"))
    if as_json:
        echo(json.dumps(facts | {"folder": click.format_filename(output)}, indent=2))
        return
    if facts["foci"] is None:
        echo(f"{heatmap}: {nothing_looked_at(facts['tissue_mm2'])} -> {output}")
    else:
        echo(f"{heatmap}: IDC {facts['idc_mm2']:.2f} mm2, {counted_foci(facts['foci'])} -> {output}")
    for warning in facts["warnings"]:
        echo(f"{heatmap}: {warning}", err=True)
