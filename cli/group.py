"""The group of all commands, each loaded when it is asked for; the library's errors become one line."""

from __future__ import annotations

import importlib
import logging
import traceback
from difflib import get_close_matches

import click

from wsi_idc.base.shown import printable, shown_record
from wsi_idc.errors import WsiIdcError

# Each is the command of its name in the module `wsi_idc.cli.<that>`, which is loaded when the command is asked for.
_COMMANDS = {
    "segment": "segment",
    "delineate": "delineate",
    "fields": "grading.fields",
    "observers": "grading.observers",
    "compare": "compare",
    "convert": "convert",
    "status": "upkeep.status",
    "verify": "upkeep.verify",
    "info": "info",
    "schema": "schema",
    "demo": "demo",
    "predict": "predict",
    "explain": "explain",
    "view": "pages.view",
    "serve": "pages.serve",
    "train": "training.train",
    "tune": "training.tune",
    "evaluate": "training.evaluate",
    "models": "training.models",
    "data": "training.data",
    "doctor": "upkeep.doctor",
    "completion": "upkeep.completion",
}


class _Group(click.Group):
    """Loads commands late, and turns the library's errors into one line and exit status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"wsi_idc.cli.{_COMMANDS[cmd_name]}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and of a name that is none say which one may be meant: click knows loaded ones only."""
        if args[0] not in _COMMANDS and (near := get_close_matches(args[0], _COMMANDS, n=1)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except click.ClickException as error:
            # What click itself prints then; it declares the message as one that is not assigned again.
            vars(error)["message"] = printable(error.message)
            raise
        except (WsiIdcError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            reason = str(error)
            if isinstance(error, OSError) and error.filename is not None:
                reason = f"{error.filename}: {error.strerror}"
            click.echo(f"error: {printable(reason)}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)
        except Exception as error:
            if ctx.params.get("debug") or not _of_dask_configuration(error):
                raise
            click.echo(
                f"error: the configuration of Dask cannot be read ({' '.join(str(error).split())}); mend that file, or "
                "set DASK_CONFIG to another folder",
                err=True,
            )
            ctx.exit(1)


def _of_dask_configuration(error: Exception) -> bool:
    """Say whether an error was raised while Dask read its configuration, which it does when it is imported."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == "dask.config" for frame, _ in frames)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wsi-idc")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr what is done.")
def main(debug: bool, verbose: bool) -> None:
    """Find, outline and measure invasive ductal carcinoma on whole-slide images.

    For research use only; not a medical device and not for diagnosis.
    """
    # What is logged is printed too.
    if logging.lastResort:
        logging.lastResort.addFilter(shown_record)
    if debug or verbose:
        logging.basicConfig(format="%(name)s: %(message)s" if debug else "%(asctime)s %(message)s", datefmt="%H:%M:%S")
        for handler in logging.getLogger().handlers:
            handler.addFilter(shown_record)
        logging.getLogger("wsi_idc").setLevel(logging.DEBUG if debug else logging.INFO)
