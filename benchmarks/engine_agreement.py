"""What another engine changes in what a model finally says of patches, as they are and under perturbations.

    python benchmarks/engine_agreement.py PATCHES [--model NAME] [--engine openvino-bf16] [--under jpeg-70-420]

PATCHES is a folder in the layout of the Kaggle set; ONNX Runtime is what others are compared with. An engine may be
chosen by `--engine auto` only if AUC moves by at most 0.001 and at most 0.2 % of the patches change class.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from wsi_idc.data.kaggle import LabelledPatch, index_patches, patients_in
from wsi_idc.data.split import official_split
from wsi_idc.evaluation.perturb import PERTURBATIONS
from wsi_idc.evaluation.predictions import predict_patches
from wsi_idc.evaluation.robustness import compare_predictions
from wsi_idc.inference.choose import make_engine
from wsi_idc.inference.engines import ENGINES
from wsi_idc.inference.ensemble import Ensemble
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.registry import DEFAULT_MODEL, find_model

UNDER = ("section-jpeg-70-420", "section-blur-0.8", "sharpen-1.2", "from-0.5-area", "scale+8%", "brightness-0.9")


def table(patches: list[LabelledPatch], engines: dict[str, Ensemble], under: tuple[str, ...], threshold: float) -> None:
    """Print what each of `engines` says of patches beside the first, as they are and `under` each change."""
    click.echo("| pixels | engine | AUC | AUC beside the first | change class | largest shift of a probability |")
    click.echo("|---|---|---|---|---|---|")
    for pixels in ("as they are", *under):
        first, *others = (predict_patches(patches, e, PERTURBATIONS.get(pixels)) for e in engines.values())
        own = compare_predictions(first.labels, first.probability, first.probability, threshold)["auc"]
        for name, other in zip(list(engines)[1:], others, strict=True):
            said = compare_predictions(first.labels, other.probability, first.probability, threshold)
            shift = np.abs(other.probability - first.probability).max()
            click.echo(
                f"| {pixels} | {name} | {own:.4f} | {said['auc'] - own:+.5f} | {said['changed']:.3%} | {shift:.4f} |"
            )


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--engine", "names", multiple=True, type=click.Choice([name for name in ENGINES if name != "onnx"]))
@click.option("--under", multiple=True, type=click.Choice(list(PERTURBATIONS)), default=UNDER, show_default=True)
@click.option("--split", default="val", show_default=True)
def main(data: Path, model: str, names: tuple[str, ...], under: tuple[str, ...], split: str) -> None:
    """Print a Markdown table."""
    package = find_model(model)
    patches = index_patches(data, set(official_split(patients_in(data))[split]))
    engines = {
        name: Ensemble([Predictor(package, make_engine(name, package))])
        for name in ("onnx", *(names or ("openvino", "openvino-bf16")))
    }
    click.echo(f"{package.name} {package.version}, {len(patches)} patches\n")
    table(patches, engines, under, package.threshold)


if __name__ == "__main__":
    main()
