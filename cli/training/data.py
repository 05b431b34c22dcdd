"""`wsi-idc data`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsi_idc.base.extras import needs_extra
from wsi_idc.cli.options import (
    FiniteRange,
    Sectioned,
    chosen_model,
    echo,
    icc_option,
    json_option,
    min_tissue_option,
    model_option,
    mpp_option,
    overwrite_option,
    print_table,
    roi_class_option,
)
from wsi_idc.cli.progress import progress_bar

if TYPE_CHECKING:
    from wsi_idc.data.audit_report import Audit


@click.group()
def data() -> None:
    """Work with IDC patches in the layout of the Kaggle set."""


@data.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("patients", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path(), help="Folder.  [default: this one]")
@overwrite_option
def assemble(folder: Path, patients: tuple[str, ...], output: Path, overwrite: bool) -> None:
    """Put the sections of PATIENTS together again from their patches in FOLDER, as pyramidal TIFFs.

    Their scale is what patches.json in FOLDER states, which `from-annotations` leaves there, or else 4 um/px.
    """
    from wsi_idc.data.assemble import assemble as assemble_section

    with progress_bar("assembling", "sections") as bar:
        task = bar.add_task("", total=len(patients))
        for patient in patients:
            echo(assemble_section(folder, patient, output, overwrite))
            bar.advance(task)


@data.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="New folder for audit.json, patients.csv and charts (PNG and SVG).",
)
@overwrite_option
@json_option
def audit(folder: Path, output: Path | None, overwrite: bool, as_json: bool) -> None:
    """Look at every patch in FOLDER and report what is there, and what would spoil a training or a measurement.

    Counts classes, patients and sizes; names files that cannot be read, names that contradict their folders, labels
    that contradict each other, identical pixels, and patches that show nothing. Exit status: 0, whatever is found; 1
    where there are no patches to look at.
    """
    import json
    from dataclasses import asdict

    with needs_extra("train"):
        from wsi_idc.data.audit import audit_folder

    with _progress() as on_progress:
        found = audit_folder(folder, output, on_progress, overwrite)
    if as_json:
        echo(json.dumps(asdict(found), indent=2))
    else:
        _print_audit(found)
        echo(f"each patient: {output / 'patients.csv'}" if output else "each patient: with --json or -o")


def _print_audit(audit: Audit) -> None:
    """Print what is there, and what was found in it: how many, and the first few by name."""
    patients = audit.per_patient
    rows = [
        ("patches", f"{audit.patches:,}: {audit.not_idc:,} not IDC, {audit.idc:,} IDC ({audit.idc_share:.1%})"),
        ("patients", f"{audit.patients:,}: {audit.whole_sections:,} whole sections, {audit.random_samples:,} samples"),
        ("  patches of each", _spread([p.patches for p in patients], ",.0f")),
        ("  IDC of each", _spread([p.idc_share for p in patients], ".1%")),
        ("  of one class only", f"{audit.patients_without_idc:,} not IDC, {audit.patients_with_idc_only:,} IDC"),
        ("missing neighbours", ""),
        ("  of whole sections", _spread([p.missing_neighbours for p in patients if p.whole_section], ".1%")),
        ("  of samples", _spread([p.missing_neighbours for p in patients if not p.whole_section], ".1%")),
    ]
    if audit.one_class_only:
        rows.append(("one class only", f"no patch is {'not IDC' if audit.idc else 'IDC'}: nothing can be learnt here"))
    for tree in audit.nested:
        copies = f"{tree.patches:,} patches in it, not counted; {tree.only_there:,} of them only there"
        rows.append(("nested tree", f"{tree.folder}: {copies}"))
    if audit.sizes:
        first = ", ".join(f"{size} ({n:,})" for size, n in list(audit.sizes.items())[:5])
        rows.append(("other sizes", f"{first}{f', and {len(audit.sizes) - 5} more' if len(audit.sizes) > 5 else ''}"))
    print_table(rows)
    echo()
    table = [("found", "count", "what it is, and the first of them")]
    for name, finding in audit.findings.items():
        table.append((name, f"{finding.count:,}", audit.definitions[name]))
        table += [("", "", f"  {', '.join(paths)}") for paths in finding.examples[:3]]
    print_table(table)
    for name in ("whole_section", "missing_neighbours"):
        echo(f"{name}: {audit.definitions[name]}")


def _spread(values: Sequence[float | None], form: str) -> str:
    """Give the least, the median and the largest of the values that are known."""

    from statistics import median

    known = [v for v in values if v is not None]
    if not known:
        return "none"
    return f"{min(known):{form}} to {max(known):{form}}, median {median(known):{form}}"


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time left on a terminal, nothing elsewhere."""
    with progress_bar("reading", "patches") as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@data.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the lists.")
@overwrite_option
@click.option(
    "--how",
    type=click.Choice(["official", "random", "fold", "hospital", "leaky-patches"]),
    default="official",
    show_default=True,
    help="Cruz-Roa's lists; random shares; one fold of several; one hospital held back; or, to see what leakage adds, "
    "random shares of the patches, each patient on all sides.",
)
@click.option("--shares", default="72,8,20", show_default=True, help="Of train, val and test, for the random ones.")
@click.option("--folds", type=click.IntRange(3), default=5, show_default=True, help="How many, for fold.")
@click.option("--fold", type=click.IntRange(0), default=0, show_default=True, help="Which is the test part, from 0.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def split(folder: Path, output: Path, overwrite: bool, how: str, shares: str, folds: int, fold: int, seed: int) -> None:
    """Part the patients in FOLDER into train, val and test; writes a list of patients for each.

    Patients are parted, never patches, unless --how leaky-patches asks for that: it writes lists of patches, as CSV.
    The lists of patients go to `evaluate --patients`, and the folder with all of them to `train`.
    """
    from wsi_idc.data import split as splits
    from wsi_idc.data.kaggle import index_patches

    try:
        parts = [float(s) for s in shares.split(",")]
    except ValueError:
        parts = []
    if how in ("random", "leaky-patches") and not (len(parts) == 3 and all(0 < p < math.inf for p in parts)):
        raise click.BadParameter(f"{shares}: give three positive shares, such as 72,8,20", param_hint="--shares")
    if how == "fold" and fold >= folds:
        raise click.BadParameter(f"{fold}: there are the folds 0 to {folds - 1}", param_hint="--fold")
    patches = index_patches(folder)
    if how == "leaky-patches":
        drawn = splits.leaky_patch_split(patches, parts, seed)
        for path in splits.write_leaky_split(output, drawn, folder, overwrite):
            echo(f"{path}: {len(drawn[path.stem])} patches")
        echo(
            "warning: patches of one patient are on several sides; numbers measured on these lists are flattered by "
            "leakage and not comparable with those of a split by patient",
            err=True,
        )
        return
    patients = {p.patient for p in patches}
    # Before shares are: others are of no use while these names are there.
    splits.check_listable(patients)
    found = {
        "official": lambda: splits.official_split(patients),
        "random": lambda: splits.random_split(patients, parts, seed),
        "fold": lambda: splits.fold_split(patients, folds, fold, seed),
        "hospital": lambda: splits.hospital_split(patients),
    }[how]()
    for path in splits.write_split(output, found, overwrite):
        echo(f"{path}: {len(found[path.stem])} patients")
    if empty := [name for name in splits.PARTS if not found[name]]:
        echo(
            f"warning: no patients in {', '.join(empty)}; training needs train and val: move some there from another "
            "list, or take another --how",
            err=True,
        )


@data.command()
@click.option("--remove", is_flag=True, help="Remove them; trainings that are to come decode their patches again.")
@json_option
def cache(remove: bool, as_json: bool) -> None:
    """List the decoded patches that trainings keep in the user's cache, or remove them.

    Exit status: 0, or 1 where some could not be removed since a training is at them.
    """
    import json

    from wsi_idc.data.cache import cache_folder, cached_patches, remove_cached

    found = cached_patches()
    removed, left = remove_cached() if remove else ([], [])
    if as_json:
        facts = [
            {"path": str(c.path), "patches": c.patches, "patch_size": c.patch_size, "bytes": c.bytes} for c in found
        ]
        listing = {"folder": str(cache_folder()), "files": facts, "removed": [str(p) for p in removed]}
        echo(json.dumps(listing, indent=2))
    else:
        rows = [("file", "patches", "side px", "MiB", "written")]
        for c in found:
            rows.append((str(c.path), str(c.patches), str(c.patch_size), f"{c.bytes / 2**20:.1f}", c.written))
        if found:
            print_table(rows)
        total = f"{sum(c.bytes for c in found) / 2**20:.1f} MiB"
        echo(f"{cache_folder()}: {len(found)} files of decoded patches, {total}")
        if remove:
            echo(f"{len(removed)} removed")
    for path in left:
        echo(f"error: {path}: a training is at it; remove it when that has ended", err=True)
    if left:
        raise click.exceptions.Exit(1)


_CUT = {
    "What": ("name", "roi_classes", "patient", "mpp", "icc"),
    "Where": ("output", "overwrite"),
    "Patches": ("inside", "min_tissue", "model"),
}


@data.command("from-annotations", cls=Sectioned, sections=_CUT)
@click.argument("slide", type=click.Path(exists=True, path_type=Path))
@click.argument("annotations", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the patches."
)
@overwrite_option
@click.option("--class", "name", default="IDC", show_default=True, help="Class whose outlines are IDC.")
@roi_class_option
@click.option("--patient", metavar="ID", help="Whose the patches are.  [default: the name of the slide]")
@click.option(
    "--inside",
    type=FiniteRange(0.5, 1),
    default=0.8,
    show_default=True,
    help="Share of a patch that must lie inside the outlines for IDC, or outside for not IDC.",
)
@min_tissue_option
@model_option
@mpp_option
@icc_option
def from_annotations(
    slide: Path,
    annotations: Path,
    output: Path,
    overwrite: bool,
    name: str,
    roi_classes: tuple[str, ...],
    patient: str | None,
    inside: float,
    min_tissue: float,
    model: str | None,
    mpp: float | None,
    icc: str,
) -> None:
    """Cut new patches from SLIDE by the outlines in ANNOTATIONS, to train on.

    Patches are of the size and scale that the model sees, in Kaggle's layout, in a new folder for the patient under the
    output folder; several slides go into one, whose patches.json states the scale, and others of another scale are
    refused. A patch on the border, neither inside nor outside enough, is left out.
    Where the file has outlines of the class ROI or Region* (--roi-class), only what lies within them counts as looked
    at; what is outlined as another class that ends in * is left out. The formats are those that `convert` reads.
    """
    from wsi_idc.data.cut import Rule, cut_patches

    package = chosen_model(model)
    rule = Rule(name, inside, min_tissue, roi_classes, icc, mpp)
    with _progress() as on_progress:
        cut = cut_patches(
            slide,
            annotations,
            output,
            package,
            rule=rule,
            patient=patient,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    for note in [*cut.notes, *cut.warnings]:
        echo(f"note: {note}", err=True)
    echo(f"{cut.folder}: {cut.idc + cut.not_idc} patches: {cut.not_idc} not IDC, {cut.idc} IDC")
    echo(
        f"left out, with tissue: {cut.border} on the border, {cut.beyond} outside of what was looked at, "
        f"{cut.unreadable} that cannot be decoded"
    )
