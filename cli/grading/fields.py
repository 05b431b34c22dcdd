"""`wsi-idc fields`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsi_idc.cli.options import FiniteRange, echo, json_option, overwrite_option, print_table

if TYPE_CHECKING:
    from wsi_idc.grading.fields import FoundFields


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-n", "--number", type=click.IntRange(1, 100), default=10, show_default=True, help="Fields wanted.")
@click.option(
    "--area",
    type=FiniteRange(0.01, 4),
    default=0.237,
    metavar="MM2",
    show_default=True,
    help="Area of a field; 0.237 mm2 is what a microscope with a field of 0.55 mm shows at 40x.",
)
@click.option(
    "--edge",
    type=FiniteRange(0, 10000, min_open=True),
    default=1000.0,
    metavar="UM",
    help="Width of the invasive edge, half of it inwards.  [default: 1000, the usual width of the invasive margin]",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="New folder.  [default: RUN/fields]")
@click.option(
    "--slide",
    type=click.Path(exists=True, path_type=Path),
    help="Where the slide is.  [default: beside RUN, or where manifest.csv says]",
)
@overwrite_option
@json_option
def fields(
    run: Path,
    number: int,
    area: float,
    edge: float,
    output: Path | None,
    slide: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Choose the fields of a segmented slide most worth grading: squares of one area that do not overlap.

    RUN is the folder of one slide that wsi-idc segment left. Writes locked annotations for QuPath (fields.geojson, with
    the invasive edge), crops at 40x with their places in level-0 pixels (fields.csv), and contact-sheet.png.
    """
    from wsi_idc.grading.fields import Wish
    from wsi_idc.grading.report import write_fields
    from wsi_idc.runs.results.summary import RESEARCH_USE

    folder = output or run / "fields"
    chosen, notes = write_fields(run, folder, Wish(number, area, edge), slide, overwrite)
    for note in notes:
        echo(note, err=True)
    if as_json:
        facts = {"folder": click.format_filename(folder), "edge_um": edge, "nuclear_density": chosen.nuclear_density}
        rows = [{"rank": rank} | dataclasses.asdict(field) for rank, field in enumerate(chosen.fields, 1)]
        echo(json.dumps(facts | {"fields": rows, "notes": notes}, indent=2))
        return
    _print(chosen, edge)
    echo(f"{len(chosen.fields)} field{'' if len(chosen.fields) == 1 else 's'} -> {folder}")
    echo(RESEARCH_USE)


def _print(chosen: FoundFields, edge: float) -> None:
    from wsi_idc.grading.fields import MIN_TUMOUR, WEIGHTS

    if chosen.fields:
        rows: list[tuple[str, ...]] = [("field", "x", "y", "score", "tumour", "nuclei", "edge")]
        for rank, f in enumerate(chosen.fields, 1):
            numbers = (f"{value:.3f}" for value in (f.score, f.tumour, f.nuclei, f.edge))
            rows.append((str(rank), str(f.x), str(f.y), *numbers))
        print_table(rows)
        best = chosen.fields[0]
        echo(f"each {best.width} x {best.height} px, {best.area_mm2:.4g} mm2, at least {MIN_TUMOUR:.0%} IDC")
        echo(f"nuclei: haematoxylin from an optical density of {chosen.nuclear_density:.2f}")
    weights = ", ".join(f"{weight:g} {part}" for part, weight in WEIGHTS.items())
    echo(f"score: {weights}; invasive edge {edge:g} um wide")
