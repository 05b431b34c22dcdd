"""The command line: commands parse, call the library and print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import traceback

import click

from wsi_idc.cli.compare import compare
from wsi_idc.cli.convert import convert
from wsi_idc.cli.delineate import delineate
from wsi_idc.cli.demo import demo
from wsi_idc.cli.fields import fields
from wsi_idc.cli.info import info
from wsi_idc.cli.predict import predict
from wsi_idc.cli.segment import segment
from wsi_idc.cli.status import status
from wsi_idc.cli.training.data import data
from wsi_idc.cli.training.evaluate import evaluate
from wsi_idc.cli.training.models import models
from wsi_idc.cli.training.train import train
from wsi_idc.cli.training.tune import tune
from wsi_idc.errors import WsiIdcError


class _Group(click.Group):
    """Turns the library's errors into one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (WsiIdcError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            reason = str(error)
            if isinstance(error, OSError) and error.filename is not None:
                reason = f"{error.filename}: {error.strerror}"
            click.echo(f"error: {reason}", err=True)
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
def main(debug: bool) -> None:
    """Find, outline and measure invasive ductal carcinoma on whole-slide images.

    For research use only; not a medical device and not for diagnosis.
    """
    if debug:
        import logging

        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("wsi_idc").setLevel(logging.DEBUG)


_COMMANDS = (
    segment, delineate, fields, compare, convert, status, info, demo, predict, train, tune, evaluate, models, data,
)  # fmt: skip
for _command in _COMMANDS:
    main.add_command(_command)
