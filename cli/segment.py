"""`wsi-idc segment`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsi_idc.cli.options import (
    FiniteRange,
    chosen_model,
    engine_option,
    model_option,
    mpp_option,
    progress_bar,
    threshold_option,
)
from wsi_idc.errors import DataError, WsiIdcError

if TYPE_CHECKING:
    from wsi_idc.batch import OnSlide
    from wsi_idc.run import SegmentResult


class _NothingFound(click.ClickException):
    """Wrong usage, in one line."""

    exit_code = 2


@click.command()
@click.argument("slides", nargs=-1, required=True, metavar="SLIDE|FOLDER|GLOB...")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("wsi-idc-output"), show_default=True, help="Folder."
)
@model_option
@threshold_option
@click.option("--min-area", type=FiniteRange(0), default=0.0, help="Smallest region in mm2.  [default: 0]")
@click.option(
    "--smooth",
    type=FiniteRange(0, 1000),
    default=0.0,
    metavar="UM",
    help="Straighten outlines, nowhere off by more than this many um; areas follow.  [default: 0, along the patches]",
)
@click.option(
    "--min-tissue",
    type=FiniteRange(0, 1, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of a patch that must be tissue.",
)
@mpp_option
@engine_option
@click.option("--overwrite", is_flag=True, help="Replace the results of another run.")
def segment(
    slides: tuple[str, ...],
    output: Path,
    model: str | None,
    threshold: float | None,
    min_area: float,
    smooth: float,
    min_tissue: float,
    mpp: float | None,
    engine: str,
    overwrite: bool,
) -> None:
    """Outline IDC on slides: heatmap, regions, numbers and pictures.

    Each slide gets a folder under the output folder with heatmap.zarr (OME-Zarr), regions.geojson (for QuPath),
    summary.json, overview.png and report.html; manifest.csv lists the slides. A slide done before with the same model
    and parameters is not computed again. Exit status: 0 all done, 1 some slides failed, 2 wrong usage.
    """
    from wsi_idc.batch import segment_slides
    from wsi_idc.discover import find_slides
    from wsi_idc.run import Settings

    package = chosen_model(model)
    settings = Settings(threshold, min_area, smooth, min_tissue, mpp, engine, overwrite)
    try:
        found = find_slides(slides)
    except DataError as error:
        raise _NothingFound(str(error)) from error
    with _progress() as on_slide:
        outcomes = segment_slides(found, output, package, settings, on_slide, print_outcome)
    bad = [o for o in outcomes.values() if isinstance(o, WsiIdcError) or o.summary["state"] != "done"]
    if len(found) > 1:
        click.echo(f"{len(found) - len(bad)} of {len(found)} slides done; {output / 'manifest.csv'}")
    if bad:
        raise click.exceptions.Exit(1)


def print_outcome(slide: Path, outcome: SegmentResult | WsiIdcError) -> None:
    """Print one line for a slide: what was found and where it is, or why it failed."""
    if isinstance(outcome, WsiIdcError):
        click.echo(f"error: {outcome}", err=True)
        return
    s = outcome.summary
    share = "" if s["idc_share"] is None else f" ({s['idc_share']:.0%})"
    foci = "1 focus" if s["foci"] == 1 else f"{s['foci']} foci"
    click.echo(
        f"{slide.name}: IDC {s['idc_mm2']:.2f} mm2 of {s['tissue_mm2']:.2f} mm2 tissue{share}, {foci}, "
        f"largest {s['largest_extent_mm']:.2f} mm -> {outcome.folder}{' (as before)' if outcome.reused else ''}"
    )
    for note in [s["message"], *s["warnings"]]:
        if note:
            click.echo(f"{slide.name}: {note}", err=True)
    for chunk in s["failed_chunks"]:
        where = f"rows {chunk['rows']}, columns {chunk['columns']}"
        click.echo(f"{slide.name}: {chunk['patches']} patches in {where} not computed: {chunk['reason']}", err=True)


@contextmanager
def _progress() -> Iterator[OnSlide]:
    """Show a bar with rate and time left on a terminal, nothing elsewhere."""
    from rich.markup import escape

    with progress_bar("{task.description}", "patches {task.fields[rate]}") as bar:

        def on_slide(number: int, count: int, path: Path) -> Callable[[int], Callable[[int], None]]:
            for task in bar.task_ids:
                bar.remove_task(task)
            name = f"[{number}/{count}] {path.name}"
            task = bar.add_task(escape(f"{name}: finding tissue"), total=None, rate="")

            def on_plan(patches: int) -> Callable[[int], None]:
                bar.reset(task, total=patches, description=escape(name))

                def advance(done: int) -> None:
                    speed = bar.tasks[0].speed
                    bar.update(task, advance=done, rate=f"{speed:.0f}/s" if speed else "")

                return advance

            return on_plan

        yield on_slide
