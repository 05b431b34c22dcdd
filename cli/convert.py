"""`wsi-idc convert`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsi_idc.base.extras import needs_extra

if TYPE_CHECKING:
    from wsi_idc.annotations.annotation import Annotation


def _renamed(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for value in values:
        old, equals, new = value.partition("=")
        if not (old and equals):
            raise click.BadParameter(f"{value!r} is not OLD=NEW", ctx, param)
        pairs[old] = new
    return pairs


@click.command()
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
    type=click.Choice(["annotations", "tiles"]),
    default="annotations",
    show_default=True,
    help="tiles: the patches of a run with their probability, for QuPath.",
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
def convert(
    source: Path,
    target: Path,
    classes: dict[str, str],
    style: str | None,
    form: str,
    like: Path | None,
    slide: Path | None,
) -> None:
    """Convert annotations between QuPath, ASAP, ImageScope, tables, OME-Zarr and DICOM.

    IN is QuPath GeoJSON, ASAP XML, ImageScope XML, HALO .annotations, Hamamatsu .ndpa, COCO, Cytomine or HistomicsUI
    JSON, also gzipped or zipped, or the folder of a run; its content tells which. The suffix of OUT says what is
    written: .geojson, .geojson.gz, .xml, .gpkg, .parquet, .zarr for labels on the patches of --like, or .dcm for a
    DICOM segmentation of the class IDC. What is mended or left out is told on stderr.
    """
    suffix = target.suffix.lower()
    if style and suffix != ".xml":
        raise click.UsageError("--to is about an OUT that ends in .xml")
    if (suffix == ".zarr") != (like is not None):
        raise click.UsageError("an OUT that ends in .zarr needs --like RUN, and only it")
    if suffix == ".dcm" and slide is None:
        raise click.UsageError("an OUT that ends in .dcm needs --slide")
    if form == "tiles":
        if classes or slide:
            raise click.UsageError("tiles have the class and the slide of the run; leave out --class and --slide")
        _tiles(source, target)
    else:
        _annotations(source, target, classes, style or "asap", like, slide)


def _tiles(source: Path, target: Path) -> None:
    from wsi_idc.annotations.write import write_tiles

    count = write_tiles(target, source)
    click.echo(f"{count} tile{'s' * (count != 1)} -> {click.format_filename(target)}")


def _annotations(
    source: Path, target: Path, classes: dict[str, str], style: str, like: Path | None, slide: Path | None
) -> None:
    from wsi_idc.annotations.read import read_annotations
    from wsi_idc.annotations.write import open_heatmap, write_annotations, write_labels

    if slide is not None:
        _check(source, slide)
    found = read_annotations(source, classes, slide)
    if like is not None:
        notes = write_labels(target, found.annotations, like)
    elif slide is not None and target.suffix.lower() == ".dcm":
        notes = _segmentation(source, target, found.annotations, slide)
    else:
        run = _run_of(source)
        mpp = open_heatmap(run)[2].slide_mpp if (run / "heatmap.zarr").is_dir() else None
        with needs_extra("tables"):
            notes = write_annotations(
                target, found.annotations, mpp=mpp, style="imagescope" if style == "imagescope" else "asap"
            )
    for note in [*found.notes, *notes]:
        click.echo(f"{click.format_filename(source)}: {note}", err=True)
    counts = Counter(a.classification or "without a class" for a in found.annotations)
    told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    count = len(found.annotations)
    click.echo(f"{count} annotation{'s' * (count != 1)} ({told or 'none'}) -> {click.format_filename(target)}")


def _check(source: Path, slide: Path) -> None:
    """Refuse the outlines of a run on another slide, which would be put where they do not belong."""
    from wsi_idc.runs.folder import read_summary
    from wsi_idc.runs.origin import check_slide, run_of
    from wsi_idc.slides.slide import Slide

    run = run_of(source)
    if run is not None:
        with Slide(slide, read_summary(run)["slide"]["mpp"]["x"]) as opened:
            check_slide(source, opened)


def _run_of(source: Path) -> Path:
    """Return the folder of the run that a source is, or is the regions of; else the source."""
    return source.parent if source.name == "regions.geojson" else source


def _segmentation(source: Path, target: Path, annotations: Sequence[Annotation], slide: Path) -> list[str]:
    """Write the annotations of the class IDC; returns a note of the others."""
    with needs_extra("dicom"):
        from wsi_idc.annotations.dicom_seg import write_segmentation
    from wsi_idc.annotations.qupath import IDC_CLASS
    from wsi_idc.annotations.write import open_heatmap
    from wsi_idc.models.registry import find_model

    run = _run_of(source)
    model = find_model(open_heatmap(run)[1]["model"]) if (run / "heatmap.zarr").is_dir() else None
    idc = [a.geometry for a in annotations if a.classification == IDC_CLASS["name"]]
    write_segmentation(target, idc, slide, model=model)
    others = len(annotations) - len(idc)
    return [f"{others} annotations of other classes are not in the segmentation"] if others else []
