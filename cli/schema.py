"""`wsi-idc schema`."""

from __future__ import annotations

from pathlib import Path

import click

_SCHEMAS = Path(__file__).with_name("schemas")
# What commands print with --json, by their names, and a line of log.jsonl.
PRINTED = tuple(sorted(file.name.removesuffix(".schema.json") for file in _SCHEMAS.glob("*.schema.json")))


@click.command()
@click.argument(
    "name",
    metavar="NAME",
    type=click.Choice(["summary", "manifest", "heatmap", "regions", "model", "worksheet", *PRINTED]),
)
def schema(name: str) -> None:
    """Print the JSON Schema of what a run or a command writes.

    NAME is summary, manifest, heatmap or regions, for the files of a run; model, for model.json of a model package;
    worksheet, for that of an observer; log, for a line of log.jsonl; or a command, as segment or data-audit, for what
    it prints with --json, with dry-run for that of segment and info-folder for a folder. Keys that a schema does not
    know may be there: later versions add some.
    """
    if name in PRINTED:
        click.echo(printed(name).read_text(encoding="utf-8"), nl=False)
        return
    from wsi_idc.grading import record
    from wsi_idc.models import package
    from wsi_idc.runs.results import outputs

    others = {"model": package.SCHEMA, "worksheet": record.SCHEMA}
    file = others.get(name) or outputs.schema_file(name)
    click.echo(file.read_text(encoding="utf-8"), nl=False)


def printed(name: str) -> Path:
    """Return the file of the schema of what a command prints, one of `PRINTED`."""
    return _SCHEMAS / f"{name}.schema.json"
