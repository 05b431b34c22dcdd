"""`wsi-idc data`."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def data() -> None:
    """Work with IDC patches in the layout of the Kaggle set."""


@data.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("patients", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path(), help="Folder.  [default: this one]")
def assemble(folder: Path, patients: tuple[str, ...], output: Path) -> None:
    """Put the sections of PATIENTS together again from their patches in FOLDER, as pyramidal TIFFs at 4 um/px."""
    from wsi_idc.data.assemble import assemble as assemble_section

    for patient in patients:
        click.echo(assemble_section(folder, patient, output))
