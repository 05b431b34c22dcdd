"""`wsi-idc predict`."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import click

from wsi_idc.base.shown import cells, printable
from wsi_idc.cli.options import (
    chosen_model,
    echo,
    engine_option,
    json_option,
    model_option,
    overwrite_option,
    print_table,
    threshold_option,
)
from wsi_idc.cli.progress import progress_bar


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@model_option
@engine_option
@threshold_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option(
    "--figure",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Also draw each image with its prediction.",
)
@overwrite_option
def predict(
    images: tuple[Path, ...],
    model: str | None,
    engine: str,
    threshold: float | None,
    as_json: bool,
    as_csv: bool,
    figure: Path | None,
    overwrite: bool,
) -> None:
    """Print the probability of IDC of patches, or of small images; slides are for wsi-idc segment.

    An image that states its scale is brought to the model's; where one states none, its pixels count as those of the
    model. Of patches in a folder of such, patches.json there states it. An image larger than a patch is cut into
    patches; its probability is their mean, and the largest is shown beside it. One of less than half a patch is
    refused. Exit status: 0 all predicted, 1 some images could not be.
    """
    if as_json and as_csv:
        raise click.UsageError("give --json or --csv, not both")
    if figure:
        _check_figure(figure, len(images), overwrite)
    from wsi_idc.api.images import predict_images

    package = chosen_model(model)
    with progress_bar("predicting", "images") as bar:
        task = bar.add_task("", total=len(images))
        rows, errors = predict_images(images, package, engine, threshold, lambda: bar.advance(task))
    if figure and rows:
        from wsi_idc.api.explanation import write_prediction_figure

        write_prediction_figure(figure, rows, package, package.threshold if threshold is None else threshold)
        echo(figure, err=True)
    if as_json:
        echo(json.dumps(rows, indent=2))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, list(_HEADS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells({**row, "image": printable(str(row["image"]))}) for row in rows)
    elif rows:
        print_table([tuple(_HEADS), *(tuple(_text(row[key]) for key in _HEADS) for row in rows)])
    if guessed := [row["image"] for row in rows if row["mpp"] is None and row["patches"] > 1]:
        count = guessed[0] if len(guessed) == 1 else f"{len(guessed)} images"
        echo(f"note: {count} of several patches without a scale: pixels count as {package.mpp:g} um", err=True)
    for error in errors:
        echo(f"error: {error}", err=True)
    if errors:
        raise click.exceptions.Exit(1)


def _check_figure(figure: Path, images: int, overwrite: bool) -> None:
    from wsi_idc.base.files import check_free

    if figure.suffix.lower() != ".png":
        raise click.UsageError(f"--figure {figure}: is drawn as PNG; give a name that ends in .png")
    if images > _LARGEST_FIGURE:
        raise click.UsageError(f"--figure shows up to {_LARGEST_FIGURE} images, not {images}; give fewer at a time")
    check_free(figure, overwrite)


# Beyond this a figure is taller than what most programs show.
_LARGEST_FIGURE = 300
_HEADS = ("image", "probability", "max_probability", "idc", "patches", "mpp")


def _text(value: object) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
