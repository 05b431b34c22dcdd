"""`wsi-idc convert`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsi_idc.cli.options import Sectioned, echo, overwrite_option
from wsi_idc.errors import FormatError

if TYPE_CHECKING:
    from wsi_idc.annotations.write import Style
    from wsi_idc.api.conversion import Converted, Form

_SECTIONS = {
    "What": ("classes", "slide"),
    "Into what": ("form", "style", "like"),
    "Where": ("overwrite",),
}


def _renamed(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for value in values:
        old, equals, new = value.partition("=")
        if not (old and equals):
            raise click.BadParameter(f"{value!r} is not OLD=NEW", ctx, param)
        pairs[old] = new
    return pairs


@click.command(cls=Sectioned, sections=_SECTIONS)
@click.argument("source", metavar="IN", type=click.Path(exists=True, path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="OLD=NEW",
    callback=_renamed,
    help="Give a class another name; OLD= leaves it out. May be repeated.",
)
@click.option("--to", "style", type=click.Choice(["asap", "imagescope"]), help="Whose XML an .xml is.  [default: asap]")
@click.option(
    "--as",
    "form",
    type=click.Choice(["annotations", "tiles", "spatialdata"]),
    default="annotations",
    show_default=True,
    help="tiles: the patches of a run with their probability, for QuPath. spatialdata: all of a run, its slide too, as "
    "images, labels and shapes; OUT ends in .zarr.",
)
@click.option(
    "--like",
    type=click.Path(exists=True, path_type=Path),
    metavar="RUN",
    help="Run, or heatmap.zarr in it, whose grid the labels of a .zarr take.",
)
@click.option(
    "--slide",
    type=click.Path(exists=True, path_type=Path),
    help="Slide that IN was drawn on, which NDPA and Cytomine need; the DICOM slide, a folder or a file of it, that an "
    "OUT ending in .dcm refers to.",
)
@overwrite_option
def convert(
    source: Path,
    target: Path,
    classes: dict[str, str],
    style: str | None,
    form: Form,
    like: Path | None,
    slide: Path | None,
    overwrite: bool,
) -> None:
    """Convert annotations between QuPath, ASAP, ImageScope, tables, OME-Zarr and DICOM, or a run to SpatialData.

    IN is QuPath GeoJSON, ASAP XML, ImageScope XML, HALO .annotations, Hamamatsu .ndpa, COCO, Cytomine or HistomicsUI
    JSON, also gzipped or zipped, or the folder of a run; its content tells which. The suffix of OUT says what is
    written: .geojson, .geojson.gz, .xml, .gpkg, .parquet, .zarr for labels on the patches of --like, or .dcm for a
    DICOM segmentation of the class IDC. What is mended or left out is told on stderr.
    """
    suffix = target.suffix.lower()
    if style and suffix != ".xml":
        raise click.UsageError("--to is about an OUT that ends in .xml")
    if form == "spatialdata":
        if classes or like:
            raise click.UsageError("spatialdata has the classes and the grid of the run; leave out --class and --like")
    elif (suffix == ".zarr") != (like is not None):
        raise click.UsageError("an OUT that ends in .zarr needs --like RUN, and only it")
    if suffix == ".dcm" and slide is None:
        raise click.UsageError("an OUT that ends in .dcm needs --slide")
    if form == "tiles" and (classes or slide):
        raise click.UsageError("tiles have the class and the slide of the run; leave out --class and --slide")
    try:
        if form == "annotations":
            done = _annotations(source, target, classes, style, like, slide, overwrite)
        else:
            from wsi_idc.api.conversion import convert_run

            done = convert_run(source, target, form, slide, overwrite)
    except FormatError as error:
        raise click.UsageError(str(error)) from error
    for note in done.notes:
        echo(f"{click.format_filename(source)}: {note}", err=True)
    count = sum(done.classes.values())
    if form == "tiles":
        echo(f"{count} tile{'s' * (count != 1)} -> {click.format_filename(target)}")
    else:
        told = ", ".join(f"{name} {number}" for name, number in done.classes.items())
        echo(f"{count} annotation{'s' * (count != 1)} ({told or 'none'}) -> {click.format_filename(target)}")


def _annotations(
    source: Path,
    target: Path,
    classes: dict[str, str],
    style: str | None,
    like: Path | None,
    slide: Path | None,
    overwrite: bool,
) -> Converted:
    from wsi_idc.api.conversion import convert_annotations

    whose: Style = "imagescope" if style == "imagescope" else "asap"
    return convert_annotations(
        source, target, classes=classes, style=whose, like=like, slide=slide, overwrite=overwrite
    )
