"""How well outlines lie on the pathologist's labels: squares of patches, outlines between them, overlapping patches.

    python benchmarks/delineation.py PATCHES --sections FILE [--model M] [--jpeg Q] [--stride 50] [--json FILE]

PATCHES is a folder in Kaggle's layout, FILE names patients of whom it has whole sections, one a line, and whom the
model has not seen. Each section is put together again, without loss or as tiles of JPEG of quality Q (4:2:0), and
segmented with a model, by default the one that ships, at its own threshold. The truth are the patches labelled IDC, as
squares, or with --traced the outline that runs between them as ours do. Only what has labels counts. Prints a table in
Markdown: pooled Dice, its mean over sections, the mean distance of both boundaries, what that is less than for the
squares, with 95 % intervals from a bootstrap over sections, and the time.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import shapely
import tifffile

from wsi_idc import Settings, Slide, find_model, read_heatmap
from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.read import read_annotations
from wsi_idc.base.bootstrap import patient_bootstrap
from wsi_idc.base.grid import Grid
from wsi_idc.comparison.agreement import SlideAgreement, compare_regions, pooled
from wsi_idc.data.assemble import assemble
from wsi_idc.data.kaggle import LabelledPatch, index_patches, read_patients
from wsi_idc.data.scale import PATCH_MPP
from wsi_idc.regions.delineate import delineate
from wsi_idc.regions.interpolate import fine_grid
from wsi_idc.regions.outlining import Outlining
from wsi_idc.runs.run import Runner

SIDE = 50
SQUARES = "squares of patches"


def squares(rows: np.ndarray, cols: np.ndarray, side: int = SIDE) -> shapely.Geometry:
    """Return the area of squares of a grid at the scale of the patches."""
    return shapely.union_all(shapely.box(cols * side, rows * side, (cols + 1) * side, (rows + 1) * side))


def labelled(patches: Sequence[LabelledPatch], size: tuple[int, int], traced: bool) -> tuple[shapely.Geometry, ...]:
    """Return what has labels, and what of it is labelled IDC, as level-0 pixels of the section."""
    rows, cols = ((np.array([(p.y, p.x) for p in patches]) - 1) // SIDE).T
    label = np.array([p.label for p in patches])
    known, truth = squares(rows, cols), squares(rows[label == 1], cols[label == 1])
    if traced:
        grid = Grid(size, (PATCH_MPP, PATCH_MPP), SIDE, PATCH_MPP)
        labels = np.full(grid.shape, np.nan, np.float32)
        labels[rows, cols] = label
        found = delineate(labels, grid, np.ones(fine_grid(grid).shape, bool), Outlining(0.5)).regions
        truth = shapely.union_all([region.geometry for region in found])
    return known, truth


def compressed(path: Path, quality: int) -> Path:
    """Write a section again in place, as tiles of JPEG with chroma of half the size."""
    pixels = tifffile.imread(path)
    form = {"photometric": "rgb", "tile": (256, 256), "compression": "jpeg", "subsampling": (2, 2)}
    tifffile.imwrite(
        path,
        pixels,
        compressionargs={"level": quality},
        resolution=(1e4 / PATCH_MPP, 1e4 / PATCH_MPP),
        resolutionunit="CENTIMETER",
        **form,
    )
    return path


@click.command()
@click.argument("patches", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--sections", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", help="Name or folder of a package.  [default: the one that ships]")
@click.option("--jpeg", type=click.IntRange(1, 100), metavar="Q", help="Store the sections as JPEG of this quality.")
@click.option("--stride", "strides", multiple=True, type=int, default=(50, 25), show_default=True)
@click.option("--threshold", type=float, help="In place of the model's own.")
@click.option("--traced", is_flag=True, help="Trace the labels too.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    patches: Path,
    sections: Path,
    model: str | None,
    jpeg: int | None,
    strides: tuple[int, ...],
    threshold: float | None,
    traced: bool,
    json_file: Path | None,
) -> None:
    """Print the table, and write the numbers where asked."""
    patients = sorted(read_patients(sections))
    found: dict[str, list[SlideAgreement]] = {}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        runners = {
            stride: Runner(find_model(model) if model else find_model(), Settings(threshold, stride=stride))
            for stride in strides
        }
        for patient in patients:
            path = assemble(patches, patient, Path(place))
            if jpeg:
                compressed(path, jpeg)
            with Slide(path) as slide:
                roi, truth = labelled(index_patches(patches, {patient}), slide.size, traced)
            for stride, runner in runners.items():
                result = runner.run(path, Path(place) / f"{patient}-{stride}")
                outlines = {f"outlines, stride {stride}": read_annotations(result.regions).annotations}
                if stride == SIDE:
                    above = read_heatmap(result.heatmap)[0] >= result.summary["parameters"]["threshold"]
                    outlines[SQUARES] = [Annotation(squares(*np.nonzero(above)))]
                for name, annotations in outlines.items():
                    agreement = compare_regions(annotations, [Annotation(truth)], (PATCH_MPP, PATCH_MPP), roi)
                    found.setdefault(name, []).append(agreement)
                    seconds[name] = seconds.get(name, 0.0) + result.summary["timings"]["stream_s"]
    base = np.array([a.mean_um for a in found[SQUARES]]) if SQUARES in found else None
    click.echo("| outlines | Dice, pooled | Dice, mean | area / true | boundary um | less squares um | seconds |")
    click.echo("|---|---|---|---|---|---|---|")
    document = {}
    for name, agreements in found.items():
        metrics = pooled(agreements, patients).metrics
        area = sum(a.found_mm2 for a in agreements) / sum(a.truth_mm2 for a in agreements)
        cells = [interval(metrics[key], form) for key, form in (("dice", ".3f"), ("mean_dice", ".3f"))]
        cells += [f"{area:.2f}", interval(metrics["mean_um"], ".0f")]
        document[name] = metrics | {"area": area, "stream_s": seconds[name] / len(patients)}
        if base is not None:
            gaps = np.array([a.mean_um for a in agreements]) - base
            document[name]["less"] = patient_bootstrap(
                np.array(patients), lambda weights, gaps=gaps: {"um": float(np.average(gaps, weights=weights))}
            )["um"]
        cells += [
            interval(document[name]["less"], ".0f") if base is not None else "",
            f"{seconds[name] / len(patients):.1f}",
        ]
        click.echo(f"| {name} | {' | '.join(cells)} |")
    if json_file:
        json_file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def interval(entry: dict[str, object], form: str) -> str:
    """Write a value with its interval."""
    low, high = entry["ci95"]  # type: ignore[misc]
    return f"{entry['value']:{form}} ({low:{form}} to {high:{form}})"


if __name__ == "__main__":
    main()
