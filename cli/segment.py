"""`wsi-idc segment`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsi_idc.base.setting import to_toml
from wsi_idc.cli.options import (
    FiniteRange,
    chosen_model,
    duration,
    given,
    model_option,
    print_table,
    progress_bar,
    setting_options,
    usage_errors,
)
from wsi_idc.errors import DataError, WsiIdcError
from wsi_idc.runs.settings import read_settings

if TYPE_CHECKING:
    from distributed import Client

    from wsi_idc.models.package import ModelPackage
    from wsi_idc.runs.executors.executor import Limits, Listener
    from wsi_idc.runs.forecast import Forecast
    from wsi_idc.runs.run import Plan
    from wsi_idc.runs.settings import SegmentResult, Settings


class _NothingFound(click.ClickException):
    """Wrong usage, in one line."""

    exit_code = 2


def _series(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | str | None:
    if text is None or text == "all":
        return text
    if not text.isdecimal():
        raise click.BadParameter(f"{text!r} is neither the number of an image, from 0, nor all; see wsi-idc info")
    return int(text)


@click.command()
@click.argument("slides", nargs=-1, metavar="SLIDE|FOLDER|GLOB...")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("wsi-idc-output"), show_default=True, help="Folder."
)
@click.option("--recursive", is_flag=True, help="Take the slides in subfolders of a FOLDER too.")
@click.option(
    "--list",
    "listed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take also what this text file names, a path on each line, or a CSV table with columns path, mpp and name.",
)
@click.option(
    "--series",
    callback=_series,
    metavar="N|all",
    help="Which image of files that hold several, from 0, or each of their scans.  [default: the slide, by what it is]",
)
@model_option
@setting_options()
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.toml",
    help="Take settings from this file, but for those that are given beside it.",
)
@click.option("--print-config", is_flag=True, help="Print the settings as such a file, and do nothing else.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Slides computed at once.")
@click.option(
    "--time-limit",
    type=FiniteRange(0, min_open=True),
    metavar="MINUTES",
    help="Give up a slide that takes longer.  [default: none]",
)
@click.option(
    "--retries", type=click.IntRange(0), default=1, show_default=True, help="Tries more for a slide that crashes."
)
@click.option("--scheduler", metavar="ADDRESS", help="Compute on the Dask cluster of this scheduler (tcp://...).")
@click.option(
    "--cluster",
    type=click.Choice(["local", "cuda", "slurm", "pbs", "lsf", "sge", "htcondor"]),
    help="Start a Dask cluster of --workers workers, or jobs, and compute there.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and how long it would take; write nothing.")
def segment(
    slides: tuple[str, ...],
    output: Path,
    recursive: bool,
    listed: Path | None,
    series: int | str | None,
    model: str | None,
    config: Path | None,
    print_config: bool,
    workers: int,
    time_limit: float | None,
    retries: int,
    scheduler: str | None,
    cluster: str | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Outline IDC on slides: heatmap, regions, numbers and pictures.

    Each slide gets a folder under the output folder with heatmap.zarr (OME-Zarr), regions.geojson (for QuPath),
    summary.json, overview.png and report.html; manifest.csv lists the slides, and index.html shows several. A slide
    done before with the same model and parameters is not computed again. Several slides are computed in other
    processes, so that a crash costs one only; `wsi-idc status` says how far they are. Exit status: 0 all done, 1 some
    slides failed, 2 wrong usage.
    """
    with usage_errors():
        settings = read_settings(config, **given(options))
    if print_config:
        click.echo(to_toml(settings), nl=False)
        return
    if not slides and listed is None:
        raise click.UsageError("nothing to segment: give slides, folders, patterns or --list FILE")
    if scheduler and cluster:
        raise click.UsageError("give --scheduler or --cluster, not both")
    from wsi_idc.runs.memory import be_lean

    be_lean()
    from wsi_idc.runs.batch import segment_slides
    from wsi_idc.runs.executors.executor import Limits
    from wsi_idc.slides.paths.find import find_slides
    from wsi_idc.slides.paths.listed import read_list

    package = chosen_model(model)
    with usage_errors():
        settings.resolved(package)
    limits = Limits(workers, time_limit, retries)
    try:
        found = find_slides([*slides, *(read_list(listed) if listed else [])], recursive, _not_entered)
    except DataError as error:
        raise _NothingFound(str(error)) from error
    if series is not None:
        from wsi_idc.slides.paths.series import with_series

        found = with_series(found, None if isinstance(series, str) else series)
    if dry_run:
        _dry_run(found, output, package, settings, limits)
        return
    with _client(scheduler, cluster, workers) as client, _listener(found) as listener:
        outcomes = segment_slides(found, output, package, settings, listener, limits, client)
    bad = [o for o in outcomes.values() if isinstance(o, WsiIdcError) or o.summary["state"] != "done"]
    if len(found) > 1:
        click.echo(f"{len(found) - len(bad)} of {len(found)} slides done; {output / 'manifest.csv'}")
    if bad:
        raise click.exceptions.Exit(1)


def _not_entered(folder: Path) -> None:
    click.echo(f"{click.format_filename(folder)}: slides in it, not taken; --recursive takes them", err=True)


@contextmanager
def _client(scheduler: str | None, cluster: str | None, workers: int) -> Iterator[Client | None]:
    """Connect to a Dask cluster where one is asked for, and say where its dashboard is."""
    if not (scheduler or cluster):
        yield None
        return
    from wsi_idc.runs.executors.cluster import connect

    with connect(scheduler, cluster, workers) as client:
        click.echo(f"dashboard: {client.dashboard_link}", err=True)
        yield client


def print_outcome(slide: Path, outcome: SegmentResult | WsiIdcError) -> None:
    """Print one line for a slide: what was found and where it is, or why it failed."""
    if isinstance(outcome, WsiIdcError):
        click.echo(f"error: {outcome}", err=True)
        return
    s = outcome.summary
    share = "" if s["idc_share"] is None else f" ({s['idc_share']:.0%})"
    foci = "1 focus" if s["foci"] == 1 else f"{s['foci']} foci"
    if s["slivers"]:
        foci += f" (and {s['slivers']} below {s['parameters']['min_area_mm2']:.2g} mm2)"
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


def _dry_run(slides: Sequence[Path], output: Path, package: ModelPackage, settings: Settings, limits: Limits) -> None:
    """Print what would be done with each slide, and the forecast; exit status 1 where a slide would be refused."""
    from wsi_idc.runs.forecast import forecast

    with progress_bar("looking at slides") as bar:
        task = bar.add_task("", total=len(slides))
        found = forecast(slides, output, package, settings, limits, lambda *_: bar.advance(task))
    print_table([("slide", "tissue mm2", "patches", "state"), *(_plan_row(s, p) for s, p in found.slides.items())])
    refused = _print_forecast(found, limits)
    if refused:
        raise click.exceptions.Exit(1)


def _plan_row(slide: Path, plan: Plan | WsiIdcError) -> tuple[str, ...]:
    name = click.format_filename(slide)
    if isinstance(plan, WsiIdcError):
        return name, "", "", f"error: {str(plan).removeprefix(f'{slide}: ')}"
    return name, f"{plan.tissue_mm2:.2f}", str(plan.patches), "done before" if plan.done else "to do"


def _print_forecast(found: Forecast, limits: Limits) -> int:
    """Print the totals, and return how many slides would be refused."""
    plans = [p for p in found.slides.values() if not isinstance(p, WsiIdcError)]
    todo, refused = [p for p in plans if not p.done], len(found.slides) - len(plans)
    click.echo(
        f"{len(todo)} slides to do, {len(plans) - len(todo)} done before, {refused} with errors; to do: "
        f"{sum(p.tissue_mm2 for p in todo):.2f} mm2 of tissue, {sum(p.patches for p in todo)} patches"
    )
    if todo:
        click.echo(
            f"forecast: {duration(found.seconds)}, of which the patches at the {found.patches_per_s:.0f}/s that "
            f"{found.engine} was just measured to compute here; slow storage and writing the results add to it"
        )
        processes = f" in each of {limits.processes} processes" if limits.processes > 1 else ""
        click.echo(
            f"forecast: at least {found.memory_bytes / 2**30:.1f} GiB of memory{processes}: the peak while finding "
            "tissue and loading the engine, and buffers for the threads that read"
        )
    return refused


@contextmanager
def _listener(slides: Sequence[Path]) -> Iterator[Listener]:
    """Print what becomes of each slide; on a terminal show a bar with rate and time left for each one at work."""
    from wsi_idc.runs.executors.executor import Listener

    class Lines(Listener):
        """Tells what becomes of slides."""

        def ended(self, number: int, outcome: SegmentResult | WsiIdcError) -> None:
            print_outcome(slides[number], outcome)

    if not sys.stderr.isatty():
        # What draws the bars takes as long to load as to write the report.
        yield Lines()
        return
    from rich.markup import escape
    from rich.progress import TaskID

    with progress_bar("{task.description}", "patches {task.fields[rate]}") as bar:
        shown: dict[int, TaskID] = {}

        class Bars(Lines):
            """Shows besides how far they are."""

            def started(self, number: int) -> None:
                name = f"[{number + 1}/{len(slides)}] {slides[number].name}: finding tissue"
                # A slide that crashed is begun once more.
                self.delayed(number, "")
                shown[number] = bar.add_task(escape(name), total=None, rate="")

            def planned(self, number: int, patches: int) -> None:
                name = f"[{number + 1}/{len(slides)}] {slides[number].name}"
                bar.reset(shown[number], total=patches, description=escape(name))

            def advanced(self, number: int, patches: int) -> None:
                speed = next(t.speed for t in bar.tasks if t.id == shown[number])
                bar.update(shown[number], advance=patches, rate=f"{speed:.0f}/s" if speed else "")

            def delayed(self, number: int, reason: str) -> None:
                if number in shown:
                    bar.remove_task(shown.pop(number))

            def ended(self, number: int, outcome: SegmentResult | WsiIdcError) -> None:
                self.delayed(number, "")
                super().ended(number, outcome)

        yield Bars()
