"""Options and messages that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from wsi_idc.base.setting import Setting, settings_of, shown_default
from wsi_idc.base.shown import printable, shown_record
from wsi_idc.errors import DataError, ModelError, SettingsError
from wsi_idc.runs.settings import Settings

if TYPE_CHECKING:
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


class _Rising(click.ParamType):
    """Numbers with commas between them, checked by the setting that they are for."""

    name = "numbers"

    def __init__(self, known: Setting) -> None:
        self.known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return self.known.checked([float(part) for part in value.split(",")] if value else [])
        except ValueError:
            self.fail(f"{value!r}: give {self.known.wanted}", param, ctx)


def setting_option(name: str, settings: type = Settings, default: str = "") -> Decorator:
    """Make the option of a setting, which is a field of a dataclass of such; its value has the name of the field.

    `default` is what the help says of it where that is not the default of the setting.
    """
    known = settings_of(settings)[name]
    text = f"{known.help}  [default: {default or shown_default(known)}]"
    names = [f"{known.option}/--no-{known.option.removeprefix('--')}" if known.kind is bool else known.option, name]
    return click.option(*names, type=_type(known), default=known.default, metavar=known.metavar, help=text)


def setting_options(settings: type = Settings, default: str = "") -> Decorator:
    """Give a command an option for each of the settings of a dataclass that has one; see `setting_option`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, known in reversed(settings_of(settings).items()):
            command = setting_option(name, settings, default)(command) if known.option else command
        return command

    return decorate


def _type(known: Setting) -> click.ParamType:
    low, high = (bound if math.isfinite(bound) else None for bound in (known.low, known.high))
    if known.kind is tuple:
        return _Rising(known)
    if known.kind is float:
        return FiniteRange(low, high, known.open_low, known.open_high)
    if known.kind is int:
        least, most = (None if bound is None else int(bound) for bound in (low, high))
        return click.IntRange(least, most, known.open_low, known.open_high)
    if known.choices:
        return click.Choice(known.choices)
    return click.BOOL if known.kind is bool else click.STRING


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options of the command that runs which were said on the command line."""
    context = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    return {name: value for name, value in options.items() if context.get_parameter_source(name) is not default}


@contextmanager
def usage_errors() -> Iterator[None]:
    """Make settings that cannot be meant wrong usage: one line, exit status 2."""
    try:
        yield
    except SettingsError as error:
        raise click.UsageError(str(error)) from error


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text, on stderr where it is an error; what names of files hold is shown, and never a code."""
    click.echo(printable(str(text)), err=err, nl=nl)


class _WrongUsage(click.ClickException):
    """Wrong usage, in one line."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print it as other errors are."""
        echo(f"error: {self.message}", err=True)


@contextmanager
def wrong_usage() -> Iterator[None]:
    """Make what is wrong with what was asked for, and with no file of data, wrong usage: one line, exit status 2."""
    try:
        yield
    except (DataError, ModelError) as error:
        raise _WrongUsage(str(error)) from error


engine_option = setting_option("engine")
mpp_option = setting_option("mpp")
icc_option = setting_option("icc")
threshold_option = setting_option("threshold")
min_tissue_option = setting_option("min_tissue")
roi_class_option: Decorator = click.option(
    "--roi-class",
    "roi_classes",
    multiple=True,
    metavar="NAME",
    default=("ROI", "Region*"),
    show_default=True,
    help="Class, in any case, of the annotations outside of which nothing counts; may be repeated.",
)
overwrite_option: Decorator = click.option("--overwrite", is_flag=True, help="Replace what is there of that name.")
json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout."
)


def be_verbose(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    """Have the library say on stderr what it does."""
    if asked:
        import logging

        logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        for handler in logging.getLogger().handlers:
            handler.addFilter(shown_record)
        logging.getLogger("wsi_idc").setLevel(min(logging.INFO, logging.getLogger("wsi_idc").level or logging.INFO))


verbose_option: Decorator = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    callback=be_verbose,
    expose_value=False,
    help="Say on stderr what is done, as log.jsonl does.",
)


def chosen_model(name: str | None, asked_by: str = "--model") -> ModelPackage:
    """Load the model asked for; an unknown name is wrong usage, of the option or argument `asked_by`."""
    from wsi_idc.errors import UnknownModelError
    from wsi_idc.models.registry import find_model

    try:
        return find_model(name) if name else find_model()
    except UnknownModelError as error:
        raise click.BadParameter(str(error), param_hint=asked_by) from error


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows of text in aligned columns, the first row as the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        echo("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


class Sectioned(click.Command):
    """A command of many options, which its help shows in `sections`: names of parameters by title; others come last."""

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]], **facts: Any) -> None:
        """Take what any command takes."""
        super().__init__(*arguments, **facts)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        records = {p.name: record for p in options if (record := p.get_help_record(ctx)) is not None}
        for title, names in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([records.pop(name) for name in names])
        with formatter.section("Other"):
            formatter.write_dl(list(records.values()))
