"""What a training leaves to be looked at: a table, TensorBoard events, curves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from tensorboard.summary import Writer

from wsi_idc.base.files import replacing
from wsi_idc.base.pages.figures import draw_panels

Record = dict[str, float]


def write_log(run: Path, history: Sequence[Record]) -> None:
    """Write log.csv with a row for each epoch."""
    with replacing(run / "log.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def write_events(events: Writer, record: Record) -> None:
    """Write an epoch for TensorBoard."""
    for name, value in record.items():
        events.add_scalar(name, value, step=int(record["epoch"]))
    events.flush()


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
