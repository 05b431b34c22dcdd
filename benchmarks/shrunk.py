"""What it does to probabilities that JPEG tiles are shrunk while they are decoded, at scales that share no borders.

    python benchmarks/shrunk.py SLIDE... [--mpp 0.2525] [--margin 3.75]...

SLIDEs are 40x or 20x slides of JPEG tiles. Each is segmented with every tile decoded in full, and with each margin of
`wsi_idc.slides.slide.VIRTUAL_MARGIN`: 7.5 shrinks a 40x slide to 1/2 for a model at 4 um/px, 3.75 to 1/4, 1.9 to 1/8.
The table has, for both models that ship, the patches, how far probabilities are from those of the tiles in full at
most and on average, the share of the patches that change class, and the area of IDC against that of the tiles in full.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np

import wsi_idc
from wsi_idc.slides import slide as module

MODELS = ("idc-context", "idc-patch")


def segmented(slide: Path, mpp: float | None, margin: float, model: str) -> tuple[np.ndarray, float]:
    """Return the heatmap of a slide and its area of IDC in mm2, read with a margin."""
    module.VIRTUAL_MARGIN = margin
    with tempfile.TemporaryDirectory() as folder:
        done = wsi_idc.segment(slide, folder, model=model, mpp=mpp, engine="onnx")
        return wsi_idc.read_heatmap(done.heatmap)[0], done.summary["idc_mm2"]


@click.command()
@click.argument("slides", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--mpp", type=float, help="Take the slides to have this scale.")
@click.option("--margin", "margins", type=float, multiple=True, default=(7.5, 3.75, 1.9), show_default=True)
def main(slides: tuple[Path, ...], mpp: float | None, margins: tuple[float, ...]) -> None:
    """Print the table in Markdown."""
    click.echo(
        "| model | margin | patches | at most | on average | change class | area |\n|---|---|---:|---:|---:|---:|---:|"
    )
    for model in MODELS:
        threshold = wsi_idc.find_model(model).threshold
        full = [segmented(slide, mpp, np.inf, model) for slide in slides]
        for margin in margins:
            shrunk = [segmented(slide, mpp, margin, model) for slide in slides]
            pairs = [(a[np.isfinite(a)], b[np.isfinite(a)]) for (a, _), (b, _) in zip(full, shrunk, strict=True)]
            was, now = (np.concatenate(values) for values in zip(*pairs, strict=True))
            apart, changed = np.abs(was - now), np.mean((was >= threshold) != (now >= threshold))
            area = sum(v for _, v in shrunk) / sum(v for _, v in full)
            row = (model, f"{margin:g}", len(was), f"{apart.max():.3f}", f"{apart.mean():.4f}", f"{changed:.2%}")
            click.echo("| " + " | ".join(map(str, (*row, f"{area:.3f}"))) + " |")


if __name__ == "__main__":
    main()
