"""Options and messages that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress

    from wsi_idc.models.package import ModelPackage


class FiniteRange(click.FloatRange):
    """A range of numbers that leaves out nan and infinity, which compare as click does not expect."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert text to a finite float in the range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

model_option: Decorator = click.option(
    "--model", default=None, metavar="NAME|DIR", help="Model package, by name or folder.  [default: the shipped one]"
)
engine_option: Decorator = click.option(
    "--engine",
    type=click.Choice(["auto", "onnx", "keras"]),
    default="auto",
    show_default=True,
    help="What computes; auto takes what is done first on this machine.",
)
mpp_option: Decorator = click.option(
    "--mpp",
    type=FiniteRange(0.05, 20),
    metavar="UM",
    help="Scale of level 0 in um per pixel, in place of what the file states.",
)
threshold_option: Decorator = click.option(
    "--threshold",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="Probability from which a patch is IDC.  [default: the model's]",
)


def _bands(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[float, ...]:
    try:
        bands = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of probabilities, such as 0.3,0.5,0.7") from None
    if not all(0 < b < 1 for b in bands) or list(bands) != sorted(set(bands)):
        raise click.BadParameter(f"{text!r}: give probabilities between 0 and 1 that rise, such as 0.3,0.5,0.7")
    return bands


_OUTLINING = (
    threshold_option,
    click.option(
        "--low",
        type=FiniteRange(0, 1, min_open=True, max_open=True),
        help="Let a region go on to this lower probability (hysteresis).  [default: the threshold]",
    ),
    click.option("--min-area", type=FiniteRange(0), default=0.0, help="Smallest region in mm2.  [default: 0]"),
    click.option(
        "--min-hole",
        type=FiniteRange(0),
        default=0.0,
        help="Smallest hole in mm2; smaller ones are filled.  [default: 0]",
    ),
    click.option(
        "--smooth",
        type=FiniteRange(0, 1000),
        default=5.0,
        show_default=True,
        metavar="UM",
        help="Simplify outlines, with this tolerance in um.",
    ),
    click.option(
        "--bands",
        callback=_bands,
        metavar="P,P,...",
        help="Outline also, as classes of their own, what lies between these.",
    ),
)


def outlining_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that shape regions, from --threshold to --bands."""
    for option in reversed(_OUTLINING):
        command = option(command)
    return command


min_tissue_option: Decorator = click.option(
    "--min-tissue",
    type=FiniteRange(0, 1, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of a patch that must be tissue.",
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def chosen_model(name: str | None) -> ModelPackage:
    """Load the model asked for; an unknown name is wrong usage."""
    from wsi_idc.models.registry import UnknownModelError, find_model

    try:
        return find_model(name) if name else find_model()
    except UnknownModelError as error:
        raise click.BadParameter(str(error), param_hint="--model") from error


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows of text in aligned columns, the first row as the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def duration(seconds: float) -> str:
    """Write a time as a person would say it, such as "2 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def progress_bar(text: str, unit: str = "") -> Progress:
    """Make bars with the time left, `text` and `unit` as rich's templates; shown on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    units = (TextColumn(unit),) if unit else ()
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), *units, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
