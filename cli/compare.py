"""`wsi-idc compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from wsi_idc.cli.options import (
    Sectioned,
    echo,
    json_option,
    mpp_option,
    overwrite_option,
    print_table,
    roi_class_option,
)

_COLUMNS = ("dice", "iou", "sensitivity", "ppv", "hausdorff_um", "p95_um", "area_error_mm2", "foci", "foci_found")


_SECTIONS = {
    "What": ("classes", "roi_classes", "patients", "mpp"),
    "Where": ("output", "overwrite", "as_json"),
}


@click.command(cls=Sectioned, sections=_SECTIONS)
@click.argument("found", type=click.Path(exists=True, path_type=Path))
@click.argument("truth", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="New folder for numbers and pictures."
)
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME",
    help="Class of annotations that counts; may be repeated.  [default: the only one; of a run, all regions]",
)
@roi_class_option
@click.option(
    "--patients",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='CSV with the columns slide and patient.  [default: the name of the slide up to the first "_"]',
)
@mpp_option
@overwrite_option
@json_option
def compare(
    found: Path,
    truth: Path,
    output: Path | None,
    classes: tuple[str, ...],
    roi_classes: tuple[str, ...],
    patients: Path | None,
    mpp: float | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Compare what was FOUND with the TRUTH, or two observers: areas, boundaries and foci.

    Each is a file of annotations, the folder of a run or of delineate, or a folder of such, where slides are paired
    by name. The scale is that of the run, or --mpp. What is outlined as a class that ends in *, as Ignore*, counts
    for neither side; a file of which nothing can be read is an error, one that holds nothing is not. A folder given
    with -o gets compare.json, compare.csv and a picture of each slide. Exit status: 0 all compared, 1 some slides
    could not be.
    """
    from wsi_idc.comparison.report import compare_slides

    document = compare_slides(
        found,
        truth,
        output,
        patients=patients,
        mpp=mpp,
        classes=classes,
        roi_classes=roi_classes,
        overwrite=overwrite,
    )
    failed = document["failed"]
    for line in [*document["left_out"], *document["notes"], *(f"error: {reason}" for reason in failed)]:
        echo(line, err=True)
    if as_json:
        echo(json.dumps(document, indent=2))
    else:
        _print(document)
        if output:
            echo(output / "compare.json")
    if failed:
        raise click.exceptions.Exit(1)


def _print(document: dict[str, Any]) -> None:
    print_table(
        [("slide", *_COLUMNS), *((s["slide"], *(_number(n, s[n]) for n in _COLUMNS)) for s in document["slides"])]
    )
    rows = [("pooled", "value", "95 % interval")]
    for name, entry in document["pooled"].items():
        if isinstance(entry, dict):
            value, low, high = (_number(name, v) for v in (entry["value"], *entry["ci95"]))
            rows.append((name, value, "-" if low == "-" else f"{low} to {high}"))
    echo()
    print_table(rows)


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{1 if name.endswith('_um') else 4}f}"
