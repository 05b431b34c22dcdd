"""Compare the heatmap of an assembled section with the labels of its patches.

    wsi-idc data assemble DATA 10274 -o sections
    wsi-idc segment sections/10274.tif -o results
    python examples/compare_with_labels.py DATA results/10274

DATA is the patches in Kaggle's layout. A patch that was not computed counts as probability 0.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from wsi_idc import read_heatmap
from wsi_idc.data.kaggle import index_patches
from wsi_idc.evaluation.metrics import patch_metrics


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("results", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(data: Path, results: tuple[Path, ...]) -> None:
    """Print AUC, F1 and balanced accuracy of each result folder, named after its patient."""
    click.echo(f"{'patient':>8} {'patches':>8} {'missing':>8} {'AUC':>7} {'F1':>7} {'BAC':>7}")
    for folder in results:
        heatmap, provenance = read_heatmap(folder / "heatmap.zarr")
        patches = [p for p in index_patches(data, {folder.name}) if (p.x - 1) % 50 == 0 and (p.y - 1) % 50 == 0]
        values = np.array([heatmap[(p.y - 1) // 50, (p.x - 1) // 50] for p in patches])
        labels = np.array([p.label for p in patches])
        probability = np.nan_to_num(values)
        found = patch_metrics(labels, probability, provenance["parameters"]["threshold"])
        numbers = " ".join(f"{found[name]:7.3f}" for name in ("auc", "f1", "balanced_accuracy"))
        click.echo(f"{folder.name:>8} {len(labels):8} {int(np.isnan(values).sum()):8} {numbers}")


if __name__ == "__main__":
    main()
