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


@data.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the lists.")
@click.option(
    "--how",
    type=click.Choice(["official", "random", "fold", "hospital"]),
    default="official",
    show_default=True,
    help="Cruz-Roa's lists; random shares; one fold of several; one hospital held back.",
)
@click.option("--shares", default="72,8,20", show_default=True, help="Of train, val and test, for random.")
@click.option("--folds", type=click.IntRange(3), default=5, show_default=True, help="How many, for fold.")
@click.option("--fold", type=click.IntRange(0), default=0, show_default=True, help="Which is the test part, from 0.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def split(folder: Path, output: Path, how: str, shares: str, folds: int, fold: int, seed: int) -> None:
    """Part the patients in FOLDER into train, val and test; writes a list of patients for each.

    Patients are parted, never patches. The lists go to `evaluate --patients` and to the training scripts.
    """
    from wsi_idc.data import split as splits

    patients = [p.name for p in folder.iterdir() if p.is_dir() and p.name.isdigit()]
    try:
        parts = [float(s) for s in shares.split(",")]
    except ValueError:
        parts = []
    if how == "random" and (len(parts) != 3 or min(parts) <= 0):
        raise click.BadParameter(f"{shares}: give three positive shares, such as 72,8,20", param_hint="--shares")
    found = {
        "official": lambda: splits.official_split(patients),
        "random": lambda: splits.random_split(patients, parts, seed),
        "fold": lambda: splits.fold_split(patients, folds, fold, seed),
        "hospital": lambda: splits.hospital_split(patients),
    }[how]()
    for path in splits.write_split(output, found):
        click.echo(f"{path}: {len(found[path.stem])} patients")
