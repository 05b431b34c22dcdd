"""What a training leaves to be looked at: a table, TensorBoard events, curves."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tensorboard.summary import Writer

from wsi_idc.output import replacing

Record = dict[str, float]


def write_log(run: Path, history: Sequence[Record], events: Writer) -> None:
    """Write log.csv with a row for each epoch, and the last of them as events for TensorBoard."""
    with replacing(run / "log.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
    for name, value in history[-1].items():
        events.add_scalar(name, value, step=int(history[-1]["epoch"]))
    events.flush()


def draw_history(run: Path, history: Sequence[Record]) -> None:
    """Draw loss, accuracy and AUC of each epoch as history.png and history.svg."""
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [r["epoch"] for r in history]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [r[name] for r in history], label="training (augmented)")
        axes.plot(epochs, [r[f"val_{name}"] for r in history], label="validation")
        axes.set(xlabel="epoch", ylabel=name, title=f"{name.capitalize()} by epoch")
        axes.legend()
    for form in ("png", "svg"):
        with replacing(run / f"history.{form}") as temporary:
            figure.savefig(temporary, dpi=150)
