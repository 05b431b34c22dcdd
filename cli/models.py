"""`wsi-idc models`."""

from __future__ import annotations

import json

import click

from wsi_idc.cli.options import chosen_model, json_option, print_table


@click.group()
def models() -> None:
    """List the models, or show one."""


@models.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the models that ship and those in the user's model folder."""
    from wsi_idc.models.registry import list_models, user_models

    packages, errors = list_models()
    for error in errors:
        click.echo(f"error: {error}", err=True)
    if as_json:
        keys = ("name", "version", "mpp", "patch_size", "halo", "threshold", "description", "sha256")
        click.echo(json.dumps([{k: getattr(p, k) for k in keys} for p in packages], indent=2))
        raise click.exceptions.Exit(bool(errors))
    rows = [("name", "version", "um/px", "patch", "halo", "description")]
    for p in packages:
        rows.append((p.name, p.version, f"{p.mpp:g}", str(p.patch_size), str(p.halo), p.description))
    print_table(rows)
    click.echo(f"Your own go to {user_models()}, one folder each.")
    raise click.exceptions.Exit(bool(errors))


@models.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show a model: scale, threshold, training data and measured quality."""
    from dataclasses import asdict

    facts = asdict(chosen_model(name))
    facts["folder"] = str(facts["folder"])
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        text = json.dumps(value) if isinstance(value, dict) else str(value)
        click.echo(f"{key:14}{text}")
