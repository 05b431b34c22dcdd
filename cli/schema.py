"""`wsi-idc schema`."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", type=click.Choice(["summary", "manifest", "heatmap", "regions", "model"]))
def schema(name: str) -> None:
    """Print the JSON Schema of what a run writes, or of a model package's model.json.

    Keys that a schema does not know may be there: later versions add some.
    """
    from wsi_idc.models.package import SCHEMA
    from wsi_idc.runs.results import outputs

    file = SCHEMA if name == "model" else outputs.schema_file(name)
    click.echo(file.read_text(encoding="utf-8"), nl=False)
