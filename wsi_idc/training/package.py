"""Write a trained network as a model package: weights for every engine, and model.json with their checksums."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from wsi_idc.base.disk.left import temporary_folder
from wsi_idc.data.scale import PATCH_MPP, same_mpp
from wsi_idc.errors import DataError, ModelError, OutputError
from wsi_idc.inference.engines import ENGINES, read_network
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import ModelPackage, load_package
from wsi_idc.training.card import model_card
from wsi_idc.training.config import TrainConfig
from wsi_idc.training.left.reading import FAMILIAR, RESULT, read_config_of, read_familiar, read_measured, read_result

CARD = "MODEL_CARD.md"
# As in models/model.schema.json.
NAME = "[a-z0-9][a-z0-9._-]*"


def write_package(
    folder: Path,
    facts: Mapping[str, Any],
    networks: Mapping[str, keras.Model],
    card: str = "",
    familiar: Mapping[str, Any] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> ModelPackage:
    """Export `networks` ("encoder", maybe "context") as .keras and .onnx into `folder` and describe them.

    `facts` are the fields of model.json that the weights do not tell (see models/model.schema.json); `familiar` says
    what the slides of training were like (`wsi_idc.training.familiar`). The folder appears whole or not at all, and
    only if it can be read back and both engines agree on it. A package that is there already is replaced; raises
    OutputError where anything else is, before anything is exported. `on_stage` hears what is done next.
    """
    _check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder.parent, folder.name) as temporary:
        place = Path(temporary) / "package"
        place.mkdir()
        files = {}
        for name, network in networks.items():
            if on_stage:
                on_stage(f"exporting the {name} network")
            files[name] = _export(network, name, place)
        document = {
            "format": "wsi-idc-model",
            "format_version": 1,
            **facts,
            "preprocessing": {"input": "uint8 RGB, NHWC", "scaling": "inside the network"},
            "networks": files,
        }
        if familiar:
            told = json.dumps(familiar).encode()
            (place / FAMILIAR).write_bytes(told)
            document["familiar"] = {"file": FAMILIAR, "sha256": hashlib.sha256(told).hexdigest()}
        (place / "model.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        if card:
            (place / CARD).write_text(card, encoding="utf-8")
        if on_stage:
            on_stage("comparing the engines")
        _compare_engines(load_package(place))
        if folder.exists():
            # Looked at once more: the export took a while. Out of the way first, so that no half of it is ever there.
            _check_replaceable(folder)
            folder.rename(Path(temporary) / "older")
        place.rename(folder)
    return load_package(folder)


def _export(trained: keras.Model, name: str, place: Path) -> dict[str, dict[str, str]]:
    """Write a network into `place` in each form; return the file and the sha256 of each."""
    # A copy leaves the state of the optimizer behind, three times the size of the weights.
    network = keras.models.clone_model(trained)
    network.set_weights(trained.get_weights())
    # Keras exports only what was called once.
    inputs = [keras.ops.zeros([side or 1 for side in i.shape], i.dtype) for i in network.inputs]
    network(inputs if len(inputs) > 1 else inputs[0])
    network.save(place / f"{name}.keras")
    network.export(place / f"{name}.onnx", format="onnx", verbose=False)
    return {
        form: {
            "file": f"{name}.{form}",
            "sha256": hashlib.sha256((place / f"{name}.{form}").read_bytes()).hexdigest(),
        }
        for form in ("keras", "onnx")
    }


def _check_replaceable(folder: Path) -> None:
    """Raise OutputError where something is at `folder` that is neither empty nor a package and nothing but that."""
    if not folder.exists() and not folder.is_symlink():
        return
    way_out = "choose another folder, or remove this one yourself"
    if folder.is_symlink() or not folder.is_dir():
        raise OutputError(f"{folder}: is there already, and is no folder of a model; {way_out}")
    if not (held := {p.name for p in folder.iterdir()}):
        return
    try:
        networks = load_package(folder).networks
    except ModelError as error:
        raise OutputError(f"{folder}: holds something else than a model ({error}); {way_out}") from error
    own = {"model.json", CARD, FAMILIAR} | {form["file"] for network in networks.values() for form in network.values()}
    if others := sorted(held - own):
        raise OutputError(f"{folder}: holds more than a model, such as {others[0]}; {way_out}")


def package_run(
    run: Path,
    folder: Path,
    *,
    version: str = "1.0.0",
    mpp: float | None = None,
    licence: str | None = None,
    evaluation: Path | None = None,
    overwrite: bool = False,
    on_stage: Callable[[str], None] | None = None,
) -> ModelPackage:
    """Make the model package `folder`, named like it, of what `wsi_idc.training.run.train` left in `run`.

    Its scale is that of the patches; `mpp` states it where neither their folder nor a model that training went on with
    did, in place of 4 um/px. The licence is by default that of such a model, or else not stated.
    With a model card, written from what was measured; `evaluation`, what `wsi-idc evaluate --perturb` wrote of a
    package of this run, adds what perturbations change. Raises DataError where the training has not come to its end or
    what it left is damaged, OutputError where `folder` is there already and not a package to `overwrite`, or its name
    is none for a model.
    """
    if not (run / RESULT).exists():
        raise DataError(f"{run}: has no {RESULT}; the training is not at its end, run `wsi-idc train` again")
    if folder.exists() and not overwrite:
        raise OutputError(f"{folder}: is there already; choose another -o or give --overwrite")
    if not re.fullmatch(NAME, folder.name):
        raise OutputError(f"{folder}: {folder.name!r} is no name for a model; take small letters and digits")
    result = read_result(run)
    mpp = _scale(run, result, mpp)
    config, text = read_config_of(run)
    networks = {name: _load(run / f"{name}.keras") for name in ("encoder", "context")[: 2 if result["halo"] else 1]}
    neighbours = (
        f", and a network on the neighbours within {result['halo']} patches and the mean of the slide"
        if result["halo"]
        else ""
    )
    facts = {
        "name": folder.name,
        "version": version,
        "description": f"{result['architecture']} on patches{neighbours}",
        "licence": licence or result.get("begun", {}).get("licence") or "not stated",
        "mpp": mpp,
        **{key: result[key] for key in ("patch_size", "halo", "threshold", "temperature")},
        "classes": ["non-IDC", "IDC"],
        "training_data": result["training_data"] | _training_data(config, result),
        "metrics": {group: _defined(values) for group, values in result["metrics"].items()},
    }
    familiar = read_familiar(run)
    card = model_card(facts, result, text, _robustness(evaluation, facts) if evaluation else None)
    return write_package(folder, facts, networks, card, familiar, on_stage)


def _scale(run: Path, result: Mapping[str, Any], given: float | None) -> float:
    """Return the um per pixel of the patches of a run; raises DataError where `given` is another, or none is known."""
    if "mpp" not in result and given is None:
        raise DataError(f"{run / RESULT}: does not say the scale of the patches; give --mpp, 4 for the Kaggle set")
    known = result.get("mpp")
    if known is None:
        return PATCH_MPP if given is None else given
    if given is not None and not same_mpp(known, given):
        raise DataError(f"{run}: was trained at {known:g} um/px, and not at {given:g}; leave --mpp out")
    return float(known)


def _training_data(config: TrainConfig, result: Mapping[str, Any]) -> dict[str, Any]:
    """Say on whom a model was trained and chosen, so that whoever measures it on one of them is told."""
    train, val = config.data.train, config.data.val
    split = "official split" if config.data.split == "official" else f'split "{Path(config.data.split).name}"'
    found: dict[str, Any] = {
        "description": f"patches of the {' and '.join(train)} patients of the {split}; "
        f"temperature and threshold fitted on its {' and '.join(val)} patients, metrics with both cross-validated over "
        "these patients"
    }
    # With those of a model that training went on with, whose weights know them.
    begun = result.get("begun", {})
    parts = dict.fromkeys(
        [*begun.get("official_parts", ()), *((*train, *val) if config.data.split == "official" else ())]
    )
    found |= {"official_parts": list(parts)} if parts else {}
    return found | ({"patients_seen": result["patients_seen"]} if "patients_seen" in result else {})


def _robustness(evaluation: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Read what perturbations change; raises DataError where that was not measured, or of another model."""
    held = read_measured(path := evaluation / "metrics.json")
    if [(m["temperature"], m["threshold"]) for m in held["models"]] != [(facts["temperature"], facts["threshold"])]:
        raise DataError(f"{path}: is of another model than this run; evaluate a package of this run")
    return dict(held["robustness"])


def _load(path: Path) -> keras.Model:
    try:
        return read_network(path)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: cannot be read ({reason}); remove {RESULT} and run `wsi-idc train` again") from error


def _defined(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out metrics that are not defined, and intervals that are not, as those of a single patient."""
    found: dict[str, Any] = {}
    for name, entry in values.items():
        if not isinstance(entry, dict):
            found[name] = entry
        elif entry["value"] is not None:
            found[name] = entry["value"] if None in entry["ci95"] else entry
    return found


def _compare_engines(package: ModelPackage, tolerance: float = 1e-4) -> None:
    """Raise ModelError where ONNX Runtime and Keras do not agree on what the package computes.

    Forms are compared as well as values: tf2onnx 1.17 at times gives convolutions of one channel a dimension too many.
    """
    rng = np.random.default_rng(0)
    side = 2 * package.halo + 3
    present = rng.random((side, side)) < 0.8
    pixels = rng.integers(0, 256, (side * package.patch_size, side * package.patch_size, 3), dtype=np.uint8)
    onnx, keras_ = (Predictor(package, ENGINES[name](package)).block(pixels, present) for name in ("onnx", "keras"))
    if onnx.shape != keras_.shape or not np.abs(onnx - keras_)[present].max() <= tolerance:
        raise ModelError(f"{package.name}: exported to ONNX it gives other probabilities than in Keras")
