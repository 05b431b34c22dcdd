"""What a training leaves to be looked at: a table, TensorBoard events, curves."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from tensorboard.summary import Writer

from wsi_idc.base.disk.trouble import output_error
from wsi_idc.base.files import replacing
from wsi_idc.base.pages.figures import draw_panels
from wsi_idc.errors import WsiIdcError

Record = dict[str, float]


def write_log(run: Path, history: Sequence[Record]) -> None:
    """Write log.csv with a row for each epoch."""
    with replacing(run / "log.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


@contextmanager
def events_into(folder: Path) -> Iterator[Callable[[Record], None]]:
    """Give what writes an epoch for TensorBoard into a folder; raises OutputError where that cannot be written."""
    with errors_of_disk(folder):
        events = Writer(str(folder))

    def write(record: Record) -> None:
        with errors_of_disk(folder):
            for name, value in record.items():
                events.add_scalar(name, value, step=int(record["epoch"]))
            events.flush()

    try:
        yield write
    except BaseException:
        # What went wrong first is what is said.
        with suppress(WsiIdcError), errors_of_disk(folder):
            events.close()
        raise
    with errors_of_disk(folder):
        events.close()


@contextmanager
def errors_of_disk(folder: Path) -> Iterator[None]:
    """Raise what an error of writing is for a user; those of TensorFlow, which writes there, are none of the system."""
    try:
        yield
    except OSError as error:
        raise output_error(folder, error) from error
    except Exception as error:
        if not hasattr(error, "error_code"):
            raise
        said = str(error).rstrip()
        number = next((n for n in errno.errorcode if said.endswith(os.strerror(n))), None)
        raise output_error(folder, OSError(number, os.strerror(number)) if number else OSError(said)) from error


def draw_history(run: Path, history: Sequence[Record]) -> None:
    """Draw loss and accuracy of each epoch as history.png and history.svg."""
    epochs = [r["epoch"] for r in history]

    def curve(axes: Axes, name: str) -> None:
        axes.plot(epochs, [r[name] for r in history], marker=".", label="training (augmented)")
        axes.plot(epochs, [r[f"val_{name}"] for r in history], marker=".", label="validation")
        axes.set(xlabel="epoch", ylabel=name, title=f"{name.capitalize()} by epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()

    draw_panels(run / "history.png", [partial(curve, name=name) for name in ("loss", "accuracy")])
