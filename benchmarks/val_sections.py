"""Compare training runs on the validation patients, whole sections apart from sampled patients.

    python benchmarks/val_sections.py RUN... --sections FILE

FILE lists the patients that count as whole sections, one a line; all others are sampled patients. The last row is the
mean of the runs' logits where there are several. Temperature and threshold are cross-validated over patients.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np

from wsi_idc.data.kaggle import read_patients
from wsi_idc.evaluation.metrics import resampled_metrics
from wsi_idc.training.calibrate import cross_validated
from wsi_idc.training.run import LOGITS

METRICS = ("auc", "f1", "balanced_accuracy", "accuracy", "ece")


def read_logits(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read patients (n,), labels (n,) and logits (n,) of the validation patches of a run."""
    with (run / LOGITS).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    labels, logits = (np.array([float(r[name]) for r in rows]) for name in ("label", "logit"))
    return np.array([r["patient"] for r in rows]), labels.astype(int), logits


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--sections", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(runs: tuple[Path, ...], sections: Path) -> None:
    """Print a Markdown table."""
    read = {run.name: read_logits(run) for run in runs}
    patients, labels, _ = next(iter(read.values()))
    logits = {name: values for name, (_, _, values) in read.items()}
    if len(runs) > 1:
        logits["mean"] = np.mean(list(logits.values()), axis=0)
    whole = np.isin(patients, sorted(read_patients(sections)))
    titles = [f"{group}: {metric}" for group in ("sections", "sampled", "all") for metric in METRICS]
    click.echo(f"| run | {' | '.join(titles)} |\n{'|---' * (len(titles) + 1)}|")
    for name, values in logits.items():
        probability, positive = cross_validated(values, patients, labels)
        cells = []
        for rows in (whole, ~whole, np.ones(len(labels), bool)):
            found = resampled_metrics(labels[rows], probability[rows], positive[rows])(np.ones(rows.sum(), int))
            cells += [f"{found[metric]:.3f}" for metric in METRICS]
        click.echo(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
