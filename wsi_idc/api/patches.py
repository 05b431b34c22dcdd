"""Models and labelled patches, from Python: predict, train, evaluate, and the packages that do it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsi_idc.base.extras import needs_extra
from wsi_idc.errors import DataError
from wsi_idc.models.package import ModelPackage
from wsi_idc.models.registry import DEFAULT_MODEL, find_model


def load_model(model: str | Path = DEFAULT_MODEL) -> ModelPackage:
    """Load a model package by name, or by the path of its folder: what `model.json` says, checked; no weights yet.

    Raises ModelError where there is none, or it is not valid.

    >>> import wsi_idc
    >>> model = wsi_idc.load_model("idc-patch")
    >>> model.mpp, model.patch_size
    (4.0, 50)
    """
    return find_model(model)


def predict(
    images: Iterable[str | Path],
    *,
    model: str | Path | None = None,
    engine: str = "auto",
    threshold: float | None = None,
) -> list[dict[str, Any]]:
    """Predict patches, or small images; the Python form of `wsi-idc predict`.

    An image that states its scale is brought to the model's; the pixels of another count as those of the model. Returns
    a row for each: image, probability (the mean over its patches), max_probability, idc, patches, and mpp, the um per
    pixel that it states, or None. Raises DataError for the first that cannot be read, or is a slide.

    >>> import wsi_idc
    >>> rows = wsi_idc.predict(["patch.png"], model="idc-patch")
    >>> rows[0]["patches"], 0 <= rows[0]["probability"] <= 1
    (1, True)
    """
    from wsi_idc.api.images import predict_images

    rows, errors = predict_images([Path(i) for i in images], load_model(model or DEFAULT_MODEL), engine, threshold)
    if errors:
        raise errors[0]
    return rows


def train(data: str | Path, output: str | Path, *, config: str | Path | None = None, **values: Any) -> dict[str, Any]:
    """Train on the labelled patches in `data` (Kaggle's layout) into the folder `output`; as `wsi-idc train` does.

    `config` is a TOML file; over it come `values`, section by section, such as `fit={"epochs": 20}`. The same call
    again goes on where it was interrupted. Returns the temperature, the threshold and the metrics, as run.json does.
    Needs the extra `train` (MissingExtraError). Raises DataError, ModelError, OutputError.

    >>> import wsi_idc
    >>> small = {"options": {"patch_size": 16, "widths": [4, 8], "dropout": 0.1}}
    >>> result = wsi_idc.train("patches16", "trained", model=small, fit={"epochs": 1, "batch_size": 16})
    >>> 0 < result["threshold"] < 1
    True
    """
    with needs_extra("train"):
        from wsi_idc.training.config import override, read_config
        from wsi_idc.training.run import train as run_training
    given: dict[str, Any] = {}
    for section, keys in values.items():
        if not isinstance(keys, Mapping):
            raise DataError(
                f"{section}={keys!r}: give a section as a mapping of its keys, such as fit={{'epochs': 20}}"
            )
        given |= {f"{section}.{key}": value for key, value in keys.items()}
    return run_training(Path(data), override(read_config(Path(config) if config else None), given), Path(output))


def evaluate(
    data: str | Path,
    output: str | Path,
    *,
    split: str | None = None,
    patients: str | Path | None = None,
    model: str | Path | Sequence[str | Path] | None = None,
    tta: bool = False,
    engine: str = "auto",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Measure a model, or an ensemble of several, on labelled patches; the Python form of `wsi-idc evaluate`.

    Either `split` ("train", "val", "test" or "unlisted", of the official split, or "all") or `patients`, a file of
    patient ids, says on whom. Writes metrics, predictions, figures and a page into the new folder `output`, or with
    `overwrite` in place of an evaluation there; returns the metrics.
    Needs the extra `train` (MissingExtraError). Raises DataError, ModelError, OutputError.

    >>> import wsi_idc
    >>> metrics = wsi_idc.evaluate("patches50", "evaluation", split="val", model="idc-patch")
    >>> metrics["n_patients"], len(metrics["auc"]["ci95"])
    (3, 2)
    """
    if split is not None and patients is None:
        who: str | Path = split
        if split not in _PARTS:
            raise DataError(f"split {split!r} is none of {', '.join(_PARTS)}")
    elif patients is not None and split is None:
        who = Path(patients)
    else:
        raise DataError("say which patients: split, or patients, a file of their ids")
    with needs_extra("train"):
        from wsi_idc.evaluation.evaluate import Measured, evaluate_model
    named = [model or DEFAULT_MODEL] if model is None or isinstance(model, str | Path) else model
    packages = [load_model(name) for name in named]
    return evaluate_model(Path(data), Measured(packages, tta, engine), Path(output), who, overwrite=overwrite)


_PARTS = ("train", "val", "test", "unlisted", "all")
