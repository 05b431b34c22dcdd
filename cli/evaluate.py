"""`wsi-idc evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from wsi_idc.cli.options import chosen_model, engine_option, model_option, print_table


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@model_option
@engine_option
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test", "unlisted"]),
    help="Patients of this part of the official split (Cruz-Roa 2014).",
)
@click.option("--patients", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File of patient ids.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder.")
def evaluate(
    data: Path, model: str | None, engine: str, split: str | None, patients: Path | None, output: Path
) -> None:
    """Measure a model on the labelled patches in DATA (Kaggle's layout), with intervals over patients.

    Writes metrics.json, predictions.parquet, figures (PNG and SVG) and report.html. The threshold is the model's own:
    nothing is chosen on the patients that are measured.
    """
    if (split is None) == (patients is None):
        raise click.UsageError("say which patients: --split, or --patients FILE")
    try:
        from wsi_idc.evaluate import evaluate_model
    except ImportError as error:
        raise click.ClickException(
            f'evaluate needs {error.name}; install it with: pip install "wsi-idc[train]"'
        ) from error

    metrics = evaluate_model(data, chosen_model(model), output, split=split, patients_file=patients, engine=engine)
    click.echo(f"{metrics['n_patches']} patches of {metrics['n_patients']} patients, threshold {metrics['threshold']}")
    rows = [("metric", "value", "95 % interval")]
    for name, entry in metrics.items():
        if isinstance(entry, dict) and "ci95" in entry:
            rows.append((name, f"{entry['value']:.4f}", f"{entry['ci95'][0]:.4f} to {entry['ci95'][1]:.4f}"))
    print_table(rows)
    click.echo(output / "report.html")
