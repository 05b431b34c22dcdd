"""`wsi-idc explain`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from wsi_idc.cli.options import (
    Sectioned,
    chosen_model,
    echo,
    engine_option,
    given,
    json_option,
    model_option,
    mpp_option,
    overwrite_option,
    print_table,
    usage_errors,
)
from wsi_idc.cli.progress import progress_bar

_SECTIONS = {
    "What": ("at", "layers", "patches", "number"),
    "Where": ("output", "overwrite", "as_json"),
    "How": ("model", "engine", "mpp"),
}


class _Place(click.ParamType):
    """Two numbers with a comma between them."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            x, y = (float(part) for part in value.split(","))
        except ValueError:
            x = y = math.nan
        if not (math.isfinite(x) and math.isfinite(y)):
            self.fail(f"{value!r}: give two numbers, as 1200,3400", param, ctx)
        return x, y


@click.command(cls=Sectioned, sections=_SECTIONS)
@click.argument("what", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="WHAT...")
@click.option(
    "--at",
    type=_Place(),
    multiple=True,
    metavar="X,Y",
    help="Place on the slide WHAT, in level-0 pixels; the patch of the grid in which it lies. May be repeated.",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="Layer for Grad-CAM and feature maps; may be repeated. A wrong name lists them.  [default: the end of the "
    "last block of each of the two smallest sizes of maps]",
)
@click.option(
    "--patches",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DATA",
    help="Labelled patches that the evaluation WHAT was made of.",
)
@click.option(
    "-n",
    "--number",
    type=click.IntRange(1, 200),
    default=24,
    show_default=True,
    help="Patches on a contact sheet of an evaluation.",
)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="New folder.")
@overwrite_option
@model_option
@engine_option
@mpp_option
@json_option
def explain(
    what: tuple[Path, ...],
    at: tuple[tuple[float, float], ...],
    layers: tuple[str, ...],
    patches: Path | None,
    number: int,
    output: Path,
    overwrite: bool,
    model: str | None,
    engine: str,
    mpp: float | None,
    as_json: bool,
) -> None:
    """Show what a model looks at in patches, and its surest hits and misses.

    WHAT is pictures of a patch each, or one slide and its places (--at): each patch gets a picture with its occlusion
    map, by how much the logit falls where a part is covered, and, with Keras, Grad-CAM and feature maps. Of a model
    that looks at neighbours it is the logit of the patch alone that is explained.

    Or WHAT is the folder that wsi-idc evaluate left, and --patches what it measured: contact sheets of the most certain
    true and false positives and negatives, with patient, place and probability.

    The numbers are in explain.json.
    """
    from wsi_idc.explanation.surest import is_evaluation

    said = set(given({"at": at, "layers": layers, "model": model, "engine": engine, "mpp": mpp}))
    if is_evaluation(what[0]):
        if len(what) > 1 or patches is None or said:
            raise click.UsageError(
                f"{what[0]} is an evaluation: give it alone, with --patches DATA, its patches, and without what is of "
                "a patch (--at, --layer, --model, --engine, --mpp)"
            )
        from wsi_idc.api.explanation import explain_evaluation

        document = explain_evaluation(what[0], output, patches, number=number, overwrite=overwrite)
    else:
        if patches is not None or given({"number": number}):
            raise click.UsageError(f"--patches and -n are for the folder of an evaluation, which {what[0]} is not")
        document = _of_patches(what, at, layers, output, (chosen_model(model), engine, mpp), overwrite)
    for note in document["notes"]:
        echo(f"note: {note}", err=True)
    if as_json:
        echo(json.dumps(document | {"folder": click.format_filename(output)}))
        return
    _print(document)
    echo(output / "explain.json")


def _of_patches(
    what: tuple[Path, ...],
    at: tuple[tuple[float, float], ...],
    layers: tuple[str, ...],
    output: Path,
    how: tuple[Any, str, float | None],
    overwrite: bool,
) -> dict[str, Any]:
    from wsi_idc.api.explanation import explain_patches

    package, engine, mpp = how
    with usage_errors(), progress_bar("explaining", "patches") as bar:
        task = bar.add_task("", total=len(at) or len(what))
        return explain_patches(
            what, output, package, at, layers, (engine, mpp), overwrite, on_patch=lambda: bar.advance(task)
        )


def _print(document: dict[str, Any]) -> None:
    if "sheets" in document:
        sheets = [(s["kind"], str(s["n"]), str(len(s["patches"])), s["picture"] or "-") for s in document["sheets"]]
        print_table([("kind", "patches", "shown", "picture"), *sheets])
        return
    rows: list[tuple[str, ...]] = []
    for row in document["patches"]:
        fall = max(max(line) for line in row["occlusion"])
        called = "IDC" if row["idc"] else "not IDC"
        rows.append((row["picture"], f"{row['probability']:.4f}", called, f"{row['logit']:+.3f}", f"{fall:.3f}"))
    print_table([("picture", "probability", "called", "logit", "largest fall"), *rows])
    echo(f"explained: {document['explained']}")
