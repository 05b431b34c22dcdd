"""`wsi-idc evaluate`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from wsi_idc.base.extras import needs_extra
from wsi_idc.cli.options import Sectioned, chosen_model, echo, engine_option, json_option, overwrite_option, print_table
from wsi_idc.cli.progress import progress_bar

_SECTIONS = {
    "What": ("split", "patients"),
    "Where": ("output", "overwrite", "as_json"),
    "How": ("models", "tta", "perturb", "engine"),
}


@click.command(cls=Sectioned, sections=_SECTIONS)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME|DIR",
    help="Model package, by name or folder; several times for an ensemble.  [default: the shipped one]",
)
@click.option("--tta", is_flag=True, help="Look at the patches turned and flipped in all eight ways.")
@click.option(
    "--perturb",
    is_flag=True,
    help="Also measure under a fixed set of perturbations (codec, sharpness, scale, colour) and with less cancer.",
)
@engine_option
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test", "unlisted", "all"]),
    help="Patients of this part of the official split (Cruz-Roa 2014); all: every patient in DATA.",
)
@click.option("--patients", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File of patient ids.")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="New folder.")
@overwrite_option
@json_option
def evaluate(
    data: Path,
    models: tuple[str, ...],
    tta: bool,
    perturb: bool,
    engine: str,
    split: str | None,
    patients: Path | None,
    output: Path,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure a model on the labelled patches in DATA (Kaggle's layout), with intervals over patients.

    Writes metrics.json, predictions.parquet, classification_report.txt and .json, figures (PNG and SVG) and
    report.html. The threshold is the model's own: nothing is chosen on the patients that are measured.

    Several models are one ensemble: its probability is the sigmoid of the mean of their calibrated logits, its
    threshold the mean, as logits, of theirs. --tta averages the eight views of each model likewise. With either, the
    standard deviation of the probability over models and views is the uncertainty of a patch.
    """
    who = [w for w in (split, patients) if w is not None]
    if len(who) != 1:
        raise click.UsageError("say which patients: --split, or --patients FILE")
    with needs_extra("train"):
        from wsi_idc.evaluation.evaluate import Measured, evaluate_model

    measured = Measured([chosen_model(name) for name in models or [None]], tta, engine)
    with progress_bar("{task.description}") as bar:
        task = bar.add_task("loading")

        def on_change(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        metrics = evaluate_model(
            data, measured, output, who[0], perturb=perturb, overwrite=overwrite, on_change=on_change
        )
    for note in metrics["notes"]:
        echo(note, err=True)
    if as_json:
        # Where what is not defined is null.
        echo((output / "metrics.json").read_text(encoding="utf-8"), nl=False)
        return
    _print(metrics)
    echo(output / "report.html")


def _print(metrics: Mapping[str, Any]) -> None:
    echo(f"{metrics['n_patches']} patches of {metrics['n_patients']} patients, threshold {metrics['threshold']}")
    rows = [("metric", "value", "95 % interval")]
    for name, entry in metrics.items():
        if isinstance(entry, dict) and "ci95" in entry:
            low, high = map(_number, entry["ci95"])
            rows.append((name, _number(entry["value"]), f"{low} to {high}" if low != "-" else "-"))
    print_table(rows)
    if "robustness" in metrics:
        _print_robustness(metrics["robustness"])


def _print_robustness(robustness: Mapping[str, Any]) -> None:
    """Print what changes under each perturbation, beside the patches as they are."""
    own = robustness["unperturbed"]
    rows = [("perturbation", "AUC", "F1", "changed", "area", "Dice")]
    for name, v in {"none": own, **robustness["perturbations"]}.items():
        against = [f"{v[key] - own[key]:+.4f}" if name != "none" else _number(v[key]) for key in ("auc", "f1")]
        rows.append((name, *against, *(f"{v[key]:.3f}" for key in ("changed", "area_ratio", "dice"))))
    print_table(rows)
    for share, v in robustness["prevalence"].items():
        echo(f"{float(share):.0%} of the IDC patches left: {1 - v['specificity']:.4f} of the others called IDC")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
