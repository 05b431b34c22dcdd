"""A training from patches to a calibrated model, in a folder that says how it came about."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from wsi_idc.base.disk.left import remove_left
from wsi_idc.base.files import locked, replacing
from wsi_idc.data.cache import cache_folder
from wsi_idc.data.content import file_digests
from wsi_idc.data.kaggle import MISSING, is_whole_section, place_patches
from wsi_idc.data.store import PatchArray, open_patches
from wsi_idc.errors import DataError, ModelError
from wsi_idc.evaluation.metrics import write_json
from wsi_idc.inference.engines import load_keras
from wsi_idc.models.architectures import build, context_halo, feature_encoder
from wsi_idc.models.registry import find_model
from wsi_idc.training.augmentation.batches import TrainingSet
from wsi_idc.training.augmentation.formation import reform
from wsi_idc.training.calibrate import calibrate, check_validation, cross_validated_metrics
from wsi_idc.training.config import TrainConfig
from wsi_idc.training.context import context_logits, encode_sections, fit_context, fit_new_context, lone_logits
from wsi_idc.training.familiar import familiar_slides
from wsi_idc.training.fit import OnBatch, Record, fit, predict_logits
from wsi_idc.training.identity import came_from, check_free, content_of, held_text
from wsi_idc.training.left.logs import draw_history, events_into, write_log
from wsi_idc.training.left.reading import CONFIG, FAMILIAR, LOGITS, RESULT, read_result
from wsi_idc.training.select import select_patches

# In how many other forms the validation patches are seen to fit temperature and threshold.
_FORMS = 3
# Features (n, f) of training and of validation patches, each in one or more views.
Views = tuple[list[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True, slots=True)
class Hooks:
    """Where a caller listens: batches of an epoch, epochs, and views of the sections encoded for the context.

    Of a search, also trials: the name of each and its AUC.
    """

    on_batch: OnBatch | None = None
    on_epoch: Callable[[list[Record]], None] | None = None
    on_view: Callable[[int], None] | None = None
    on_data: Callable[[PatchArray, PatchArray], None] | None = None
    on_trial: Callable[[str, float], None] | None = None


def train(data: Path, config: TrainConfig, run: Path, hooks: Hooks = Hooks()) -> dict[str, Any]:
    """Train what `config` describes on the patches in `data` (Kaggle's layout), into the folder `run`.

    Called again with the same arguments it goes on where it was interrupted. Leaves `config.toml`, logs and their
    figure, the networks as .keras, `val-logits.csv` with a row for each val patch, and `run.json`: temperature and
    threshold fitted on val, and metrics with both cross-validated over the val patients. Returns that.
    Raises OutputError where `run` holds another training, or another process is at it, and DataError or ModelError,
    before anything is trained, where the patches or the configuration do not do.
    """
    with locked(run):
        remove_left(run)
        listed = select_patches(data, config.data)
        digests = [file_digests(part) for part in listed]
        text = held_text(config, content_of(config.model, data, listed, digests))
        check_free(run, text)
        if (run / RESULT).exists():
            return read_result(run)
        cache = cache_folder() if config.data.cache == "disk" else None
        origin, model, context = _networks(config)
        size = model.input_shape[1]
        training, val = (open_patches(part, size, cache, own) for part, own in zip(listed, digests, strict=True))
        training_set = TrainingSet.of(training, config)
        _check(training, val, model, config)
        with replacing(run / CONFIG) as temporary:
            temporary.write_text(text, encoding="utf-8")
        if hooks.on_data:
            hooks.on_data(training, val)
        networks, logits, formed, features = _fit_networks(model, context, training_set, val, config, run, hooks)
        with replacing(run / FAMILIAR) as temporary:
            temporary.write_text(json.dumps(familiar_slides(training, val, features, config)), encoding="utf-8")
        _write_logits(run / LOGITS, val, logits["val"])
        for name, network in networks.items():
            with replacing(run / f"{name}.keras") as temporary:
                network.save(temporary)
        result = {
            "architecture": origin,
            "patch_size": training.size,
            "halo": context_halo(networks["context"]) if "context" in networks else 0,
            "weights": sum(n.count_params() for n in networks.values()),
            "left_out": training.left_out + val.left_out,
        } | calibrate(logits.pop("val"), val.labels, val.patients, whole_sections(val), formed)
        for name, others in logits.items():
            everything = {name: np.ones(len(val), bool)}
            result["metrics"] |= cross_validated_metrics(others, val.labels, val.patients, everything)
        with replacing(run / RESULT) as temporary:
            write_json(temporary, came_from(data, config.model, training, val, result))
        return read_result(run)


def whole_sections(data: PatchArray) -> np.ndarray:
    """Tell for each patch (n,) bool whether the patches of its patient form a section."""
    grids = place_patches(data.patches, data.size)
    whole = {patient: is_whole_section(grid != MISSING) for patient, grid in grids.items()}
    return np.array([whole[p] for p in data.patients])


def _check(training: PatchArray, val: PatchArray, model: keras.Model, config: TrainConfig) -> None:
    """Raise what would otherwise be raised after hours of training."""
    check_validation(val.patients, val.labels)
    if config.model.context:
        feature_encoder(model)
        for part in (training, val):
            placed = sum(int((grid != MISSING).sum()) for grid in place_patches(part.patches, part.size).values())
            if placed < len(part):
                raise DataError(
                    f"{len(part) - placed} of {len(part)} patches are at the place of another: places {part.size} "
                    "pixels apart are needed for model.context"
                )


def _write_logits(path: Path, data: PatchArray, logits: np.ndarray) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["patient", "x", "y", "label", "logit"])
        for patch, logit in zip(data.patches, logits.tolist(), strict=True):
            writer.writerow([patch.patient, patch.x, patch.y, patch.label, f"{logit:.5f}"])


def _networks(config: TrainConfig) -> tuple[str, keras.Model, keras.Model | None]:
    """Build the patch classifier, and a context network to begin with where a package has one; say what it is."""
    keras.utils.set_random_seed(config.fit.seed)
    if not config.model.init:
        name = config.model.architecture
        return name, build(name, weights=config.model.weights, **config.model.options), None
    package = find_model(config.model.init)
    origin = f"{package.name} {package.version}, trained further,"
    encoder = load_keras(package, "encoder")
    if not package.halo:
        return origin, encoder, None
    try:
        # The encoder of a context model was made from a classifier, whose last layer it still has.
        classifier = keras.Model(encoder.input, encoder.get_layer("logits").output)
    except ValueError as error:
        raise ModelError(f"{package.folder}: has no patch classifier to go on from") from error
    return origin, classifier, load_keras(package, "context") if config.model.context else None


@contextmanager
def _precision(model: keras.Model, mixed: bool) -> Iterator[None]:
    """Let hidden layers compute in bfloat16 while training; the weights are float32 all the time."""
    hidden = [v for v in _layers(model) if v.name != "logits"] if mixed else []
    held = [v.dtype_policy for v in hidden]
    for layer in hidden:
        layer.dtype_policy = "mixed_bfloat16"
    try:
        yield
    finally:
        for layer, policy in zip(hidden, held, strict=True):
            layer.dtype_policy = policy
        # What was compiled meanwhile goes on in bfloat16.
        model.make_predict_function(force=True)


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else [layer]


def _fit_networks(
    model: keras.Model,
    context: keras.Model | None,
    training: TrainingSet,
    val: PatchArray,
    config: TrainConfig,
    run: Path,
    hooks: Hooks,
) -> tuple[dict[str, keras.Model], dict[str, np.ndarray], list[np.ndarray], Views]:
    """Return the networks, the logits of the validation patches, those of their other forms, to calibrate by, and the
    features of training and validation patches in the views that were encoded.

    Of the patches as they are "val" are the logits of the model; with a context network also what it makes of each
    patch alone, and what the patch network does.
    """
    forms = _FORMS if config.formation.share else 0
    with events_into(run / "tensorboard") as write_events, _precision(model, config.fit.mixed_precision):

        def on_epoch(history: list[Record]) -> None:
            write_log(run, history)
            write_events(history[-1])
            if hooks.on_epoch:
                hooks.on_epoch(history)

        model, history = fit(model, training, val, run, config, hooks.on_batch, on_epoch)
    if history:
        # Again: a run may have been killed between an epoch and its log.
        write_log(run, history)
        draw_history(run, history)
    if not config.model.context:
        rng = np.random.default_rng(config.fit.seed)
        others = [predict_logits(model, reform(np.asarray(val.pixels), config.formation, rng)) for _ in range(forms)]
        own, known = (predict_logits(model, data.pixels) for data in (val, training.data))
        return {"encoder": model}, {"val": own}, others, ([known[:, None]], [own[:, None]])
    encoder = feature_encoder(model)
    seen = config.model_copy(update={"context": config.context.model_copy(update={"variants": 1 + forms})})
    features = encode_sections(encoder, training.data, config, run / "views", hooks.on_view)
    context = fit_context(context, features, config.context) if context else fit_new_context(features, config.context)
    found = encode_sections(encoder, val, seen, run / "views-val")
    logits = {
        "val": context_logits(context, found),
        "val_lone_patches": lone_logits(context, found),
        "val_patch_network": found.variants[0][:, -1].astype(np.float32),
    }
    others = [context_logits(context, found, form) for form in range(1, 1 + forms)]
    return {"encoder": encoder, "context": context}, logits, others, (features.variants, found.variants)
