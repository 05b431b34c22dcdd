"""`wsi-idc models`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wsi_idc.base.extras import needs_extra
from wsi_idc.cli.options import FiniteRange, chosen_model, echo, json_option, overwrite_option, print_table
from wsi_idc.cli.progress import progress_bar


@click.group()
def models() -> None:
    """List the models, show one, add one, or make one of a training."""


@models.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the models that ship and those in the user's model folder."""
    from wsi_idc.models.registry import list_models, user_models

    packages, errors = list_models()
    for error in errors:
        echo(f"error: {error}", err=True)
    if as_json:
        keys = ("name", "version", "mpp", "patch_size", "halo", "threshold", "description", "sha256")
        echo(json.dumps([{k: getattr(p, k) for k in keys} for p in packages], indent=2))
        raise click.exceptions.Exit(bool(errors))
    rows = [("name", "version", "um/px", "patch", "halo", "description")]
    for p in packages:
        rows.append((p.name, p.version, f"{p.mpp:g}", str(p.patch_size), str(p.halo), p.description))
    print_table(rows)
    echo(f"Your own go to {user_models()}, one folder each.")
    raise click.exceptions.Exit(bool(errors))


@models.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show a model: scale, threshold, training data and measured quality, and its card."""
    from dataclasses import asdict

    facts = asdict(found := chosen_model(name, "NAME"))
    facts["folder"] = str(facts["folder"])
    if as_json:
        echo(json.dumps(facts, indent=2))
        return
    card = found.folder / "MODEL_CARD.md"
    for key, value in facts.items():
        if isinstance(value, dict) and card.is_file():
            # The card has it in words.
            continue
        text = ", ".join(value) if isinstance(value, tuple) else json.dumps(value) if isinstance(value, dict) else value
        echo(f"{key:14}{text}")
    if card.is_file():
        echo(f"\n{card.read_text(encoding='utf-8').rstrip()}")


@models.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@overwrite_option
def add(folder: Path, overwrite: bool) -> None:
    """Copy the model package in FOLDER to your own models, where --model finds it by its name.

    It is checked before, and stays where it is too.
    """
    from wsi_idc.models.registry import add_model

    added = add_model(folder, overwrite)
    echo(f"{added.folder}: --model {added.name}")


@models.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder; its name is the model's.")
@overwrite_option
@click.option("--version", default="1.0.0", show_default=True)
@click.option(
    "--mpp",
    type=FiniteRange(0.05, 20),
    help="um per pixel of the patches.  [default: as their folder states, or the model given by --init, or 4]",
)
@click.option("--licence", help="[default: that of the model given by --init, or not stated]")
@click.option(
    "--evaluation",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="What `wsi-idc evaluate --perturb` wrote of a package of this run: its table goes into the card.",
)
def package(
    run: Path,
    output: Path,
    overwrite: bool,
    version: str,
    mpp: float | None,
    licence: str | None,
    evaluation: Path | None,
) -> None:
    """Make a model package of RUN, the folder of `wsi-idc train`: weights for every engine, and a model card."""
    with needs_extra("train"):
        from wsi_idc.training.package import package_run

    with progress_bar() as bar:
        task = bar.add_task("reading the training", total=None)

        def on_stage(name: str) -> None:
            bar.update(task, description=name)

        made = package_run(
            run,
            output,
            version=version,
            mpp=mpp,
            licence=licence,
            evaluation=evaluation,
            overwrite=overwrite,
            on_stage=on_stage,
        )
    echo(f"{made.folder}: threshold {made.threshold}, temperature {made.temperature}, halo {made.halo}")
