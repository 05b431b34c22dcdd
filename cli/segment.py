"""`wsi-idc segment`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsi_idc.base.setting import to_toml
from wsi_idc.cli.options import (
    FiniteRange,
    Sectioned,
    chosen_model,
    echo,
    given,
    json_option,
    model_option,
    print_table,
    setting_options,
    usage_errors,
    verbose_option,
)
from wsi_idc.cli.progress import duration, progress_bar, slides_listener
from wsi_idc.errors import DataError, HeldError, WsiIdcError
from wsi_idc.runs.settings import read_settings

if TYPE_CHECKING:
    from distributed import Client

    from wsi_idc.models.package import ModelPackage
    from wsi_idc.runs.executors.executor import Limits
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


_SECTIONS = {
    "What": ("recursive", "listed", "series", "mpp", "mpp_missing", "icc", "min_tissue"),
    "Where": ("output", "overwrite", "as_json", "verbose", "dry_run", "config", "print_config"),
    "Outlines": ("threshold", "low", "min_area_mm2", "min_hole_mm2", "smooth_um", "bands"),
    "Computing": ("model", "engine", "tta", "stride", "workers", "time_limit", "retries"),
    "Cluster": ("scheduler", "cluster"),
}


@click.command(cls=Sectioned, sections=_SECTIONS)
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
@json_option
@verbose_option
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
    as_json: bool,
    **options: Any,
) -> None:
    """Outline IDC on slides: heatmap, regions, numbers and pictures.

    Each slide gets a folder under the output folder with heatmap.zarr (OME-Zarr), regions.geojson (for QuPath),
    summary.json, overview.png and report.html; manifest.csv lists the slides, and index.html shows several. A slide
    done before with the same model and parameters is not computed again. Several slides are computed in other
    processes, so that a crash costs one only; `wsi-idc status` says how far they are, and log.jsonl what happened when.
    Exit status: 0 all done, 1 some slides failed, 2 wrong usage, 130 interrupted.
    """
    with usage_errors():
        settings = read_settings(config, **given(options))
    if print_config:
        echo(to_toml(settings), nl=False)
        return
    if not slides and listed is None:
        raise click.UsageError("nothing to segment: give slides, folders, patterns or --list FILE")
    if "" in slides:
        raise click.UsageError("an empty name among the slides: is a variable of the shell not set?")
    if scheduler and cluster:
        raise click.UsageError("give --scheduler or --cluster, not both")
    from wsi_idc.runs.memory import be_lean

    be_lean()
    from wsi_idc.runs.batch import segment_slides
    from wsi_idc.runs.executors.executor import Limits
    from wsi_idc.slides.paths.find import find_slides, missing
    from wsi_idc.slides.paths.listed import read_list

    package = chosen_model(model)
    with usage_errors():
        settings.resolved(package)
    limits = Limits(workers, time_limit, retries)
    # One of a list, or of a folder, fails by itself; a name that was typed is mended before hours of computing.
    if gone := [reason for slide in slides if (reason := missing(slide))]:
        raise _NothingFound(gone[0] + (f"; and {len(gone) - 1} more of what was named" if gone[1:] else ""))
    try:
        found = find_slides([*slides, *(read_list(listed) if listed else [])], recursive, _not_entered)
    except DataError as error:
        raise _NothingFound(str(error)) from error
    if series is not None:
        from wsi_idc.slides.paths.series import with_series

        found = with_series(found, None if isinstance(series, str) else series)
    if dry_run:
        _dry_run(found, output, package, settings, limits, as_json)
        return
    with _client(scheduler, cluster, workers) as client, slides_listener(found, quiet=as_json) as listener:
        outcomes = segment_slides(found, output, package, settings, listener, limits, client)
    bad = [o for o in outcomes.values() if isinstance(o, WsiIdcError) or o.summary["state"] != "done"]
    if as_json:
        facts = {"manifest": _text(output / "manifest.csv"), "done": len(found) - len(bad), "not_done": len(bad)}
        echo(json.dumps(facts | {"slides": [_facts(slide, o) for slide, o in outcomes.items()]}, indent=2))
    elif len(found) > 1:
        left = sum(isinstance(outcome, HeldError) for outcome in bad)
        to_others = f", {left} left to another run that has {'it' if left == 1 else 'them'}" if left else ""
        empty = sum(not isinstance(o, WsiIdcError) and not o.summary["patches"] for o in outcomes.values())
        unseen = f", nothing was looked at on {empty} of them" if empty else ""
        echo(f"{len(found) - len(bad)} of {len(found)} slides done{unseen}{to_others}; {output / 'manifest.csv'}")
    if bad:
        raise click.exceptions.Exit(1)


def _not_entered(folder: Path) -> None:
    echo(f"{click.format_filename(folder)}: slides in it, not taken; --recursive takes them", err=True)


@contextmanager
def _client(scheduler: str | None, cluster: str | None, workers: int) -> Iterator[Client | None]:
    """Connect to a Dask cluster where one is asked for, and say where its dashboard is."""
    if not (scheduler or cluster):
        yield None
        return
    from wsi_idc.runs.executors.cluster import connect

    with connect(scheduler, cluster, workers) as client:
        echo(f"dashboard: {client.dashboard_link}", err=True)
        yield client


def _facts(slide: Path, outcome: SegmentResult | WsiIdcError) -> dict[str, Any]:
    """Return what --json says of a slide: of one that failed only why."""
    from wsi_idc.runs.manifest import NUMBERS
    from wsi_idc.runs.results.folder import reason_of

    if isinstance(outcome, WsiIdcError):
        return {"slide": _text(slide), "state": "failed", "folder": None, "reason": str(outcome)}
    s = outcome.summary
    facts = {"slide": _text(slide), "state": s["state"], "folder": _text(outcome.folder), "reason": reason_of(s)}
    numbers = {key: s[key] for key in (*NUMBERS, "slivers", "warnings", "failed_chunks")}
    return facts | {"reused": outcome.reused} | numbers


def _dry_run(
    slides: Sequence[Path],
    output: Path,
    package: ModelPackage,
    settings: Settings,
    limits: Limits,
    as_json: bool,
) -> None:
    """Print what would be done with each slide, and the forecast; exit status 1 where a slide would be refused."""
    from wsi_idc.runs.forecast import forecast

    with progress_bar("looking at slides") as bar:
        task = bar.add_task("", total=len(slides))
        found = forecast(slides, output, package, settings, limits, lambda *_: bar.advance(task))
    if as_json:
        keys = ("engine", "patches_per_s", "seconds", "memory_bytes")
        facts = {"forecast": {key: getattr(found, key) for key in keys}}
        echo(json.dumps(facts | {"slides": [_plan_facts(s, p) for s, p in found.slides.items()]}, indent=2))
    else:
        print_table([("slide", "tissue mm2", "patches", "state"), *(_plan_row(s, p) for s, p in found.slides.items())])
        _print_forecast(found, limits)
    if any(isinstance(plan, WsiIdcError) for plan in found.slides.values()):
        raise click.exceptions.Exit(1)


def _plan_facts(slide: Path, plan: Plan | WsiIdcError) -> dict[str, Any]:
    if isinstance(plan, WsiIdcError):
        return {"slide": _text(slide), "state": "error", "reason": str(plan)}
    facts = {"slide": _text(slide), "state": "done before" if plan.done else "to do"}
    return facts | {"tissue_mm2": plan.tissue_mm2, "patches": plan.patches}


def _text(path: Path) -> str:
    """Return a path as JSON can hold it."""
    return os.fsencode(path).decode("utf-8", "replace")


def _plan_row(slide: Path, plan: Plan | WsiIdcError) -> tuple[str, ...]:
    name = click.format_filename(slide)
    if isinstance(plan, WsiIdcError):
        return name, "", "", f"error: {str(plan).removeprefix(f'{slide}: ')}"
    return name, f"{plan.tissue_mm2:.2f}", str(plan.patches), "done before" if plan.done else "to do"


def _print_forecast(found: Forecast, limits: Limits) -> None:
    """Print the totals, and the forecast where there is something to do."""
    plans = [p for p in found.slides.values() if not isinstance(p, WsiIdcError)]
    todo, refused = [p for p in plans if not p.done], len(found.slides) - len(plans)
    count = "1 slide" if len(todo) == 1 else f"{len(todo)} slides"
    echo(
        f"{count} to do, {len(plans) - len(todo)} done before, {refused} with errors; to do: "
        f"{sum(p.tissue_mm2 for p in todo):.2f} mm2 of tissue, {sum(p.patches for p in todo)} patches"
    )
    if todo:
        echo(
            f"forecast: {duration(found.seconds)}, of which the patches at the {found.patches_per_s:.0f}/s that "
            f"{found.engine} was just measured to compute here; slow storage and writing the results add to it"
        )
        processes = f" in each of {limits.processes} processes" if limits.processes > 1 else ""
        echo(
            f"forecast: at least {found.memory_bytes / 2**30:.1f} GiB of memory{processes}: the peak while finding "
            "tissue and loading the engine, and buffers for the threads that read"
        )
