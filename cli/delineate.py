"""`wsi-idc delineate`."""

from __future__ import annotations

from pathlib import Path

import click

from wsi_idc.cli.options import outlining_options


@click.command()
@click.argument("heatmap", metavar="HEATMAP.zarr", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="New folder.")
@outlining_options
def delineate(
    heatmap: Path,
    output: Path,
    threshold: float | None,
    low: float | None,
    min_area: float,
    min_hole: float,
    smooth: float,
    bands: tuple[float, ...],
) -> None:
    """Outline the heatmap of a run again, without computing it again: regions.geojson and measurements.json.

    The threshold is that of the run unless given.
    """
    from wsi_idc.heatmap.store import read_provenance
    from wsi_idc.regions.delineate import delineate_again, run_outlining
    from wsi_idc.regions.outlining import Outlining

    threshold = threshold or run_outlining(read_provenance(heatmap)).threshold
    found = delineate_again(heatmap, output, Outlining(threshold, low, min_area, min_hole, smooth), bands)
    area = sum(region.area_mm2 for region in found.regions)
    foci = "1 focus" if len(found.regions) == 1 else f"{len(found.regions)} foci"
    click.echo(f"{heatmap}: IDC {area:.2f} mm2, {foci} -> {output}")
