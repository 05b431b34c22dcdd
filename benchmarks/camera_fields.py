"""How often a model calls camera fields of benign and of malignant lesions IDC, and what tells the two apart.

    python benchmarks/camera_fields.py FOLDER TABLE [--model NAME]...

TABLE is a CSV file with the columns file (in FOLDER), label ("benign" or another word), patient and mpp. Each field is
brought to the model's scale and judged by three patches, each alone, as fields have no slide around them. It is done
again with the colours of each patient brought to one mean and deviation a channel, and the last row is of no network at
all: the mean optical density of green less that of red. A model that tells the fields apart no better than that row,
and not at all once the colours are alike, reads the stain of a source and not its tissue.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from models.registry import find_model
from wsi_idc.base.optical_density import natural_density
from wsi_idc.inference.choose import make_engine
from wsi_idc.inference.predictor import Predictor

# Mean and deviation of the optical density of red, green and blue over patches that the models were trained on.
_MEAN, _DEVIATION = np.array([0.243, 0.554, 0.345]), np.array([0.240, 0.400, 0.245])


def patches_of(path: Path, factor: float, side: int) -> np.ndarray:
    """Return three patches (3, side, side, 3) uint8 of a field made smaller by `factor`: left, middle and right."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize(tuple(round(n / factor) for n in image.size), Image.Resampling.BOX)
    pixels = np.asarray(small)
    short = [max(0, side - n) for n in pixels.shape[:2]]
    pixels = np.pad(pixels, [(n // 2, n - n // 2) for n in short] + [(0, 0)], mode="reflect")
    top, free = (pixels.shape[0] - side) // 2, pixels.shape[1] - side
    return np.stack([pixels[top : top + side, left : left + side] for left in (0, free // 2, free)])


def alike(pixels: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Bring each patient's fields, `pixels` (n, 3, s, s, 3), to one mean and deviation of optical density a channel."""
    out = np.empty_like(pixels)
    for patient in np.unique(patients):
        of = natural_density(pixels[patients == patient]).astype(np.float64)
        matched = (of - of.mean((0, 1, 2, 3))) / of.std((0, 1, 2, 3)) * _DEVIATION + _MEAN
        out[patients == patient] = np.clip(np.rint(256 * np.exp(-matched) - 1), 0, 255)
    return out


def row(name: str, values: np.ndarray, malignant: np.ndarray, threshold: float | None) -> str:
    """Return a row of the table: share called IDC of benign and of malignant fields, and the AUC between the two."""
    called = [f"{(values[which] >= threshold).mean():.0%}" if threshold else "" for which in (~malignant, malignant)]
    return f"| {name} | {called[0]} | {called[1]} | {roc_auc_score(malignant, values):.3f} |"


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", "names", multiple=True, default=("idc-context", "idc-patch"), show_default=True)
def main(folder: Path, table: Path, names: tuple[str, ...]) -> None:
    """Print a Markdown table."""
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    malignant = np.array([r["label"] != "benign" for r in rows])
    patients = np.array([r["patient"] for r in rows])
    click.echo(f"{len(rows)} fields of {len(set(patients))} patients.\n")
    click.echo("| | benign called IDC | malignant called IDC | AUC |\n|---|---:|---:|---:|")
    for name in names:
        model = find_model(name)
        fields = [patches_of(folder / r["file"], model.mpp / float(r["mpp"]), model.patch_size) for r in rows]
        pixels = np.stack(fields)
        predictor = Predictor(model, make_engine("onnx", model))
        for what, seen in ((f"{name} {model.version}", pixels), ("the same, colours alike", alike(pixels, patients))):
            judged = predictor.patches(seen.reshape(-1, *pixels.shape[2:])).reshape(len(rows), 3).mean(1)
            click.echo(row(what, judged, malignant, model.threshold))
    of = natural_density(pixels).mean((1, 2, 3))
    click.echo(row("density of green less red", of[:, 1] - of[:, 0], malignant, None))


if __name__ == "__main__":
    main()
