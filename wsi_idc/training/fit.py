"""Fit a patch classifier with Keras, epoch by epoch; killed at any moment, it goes on as if it had not been."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

from wsi_idc.base.files import replacing
from wsi_idc.base.inputs.packed import check_zip
from wsi_idc.data.store import PatchArray
from wsi_idc.errors import DataError, DivergedError
from wsi_idc.training.augmentation.batches import Batches, TrainingSet
from wsi_idc.training.config import LossConfig, OptimizerConfig, TrainConfig
from wsi_idc.training.schedule import best_epoch, learning_rate, stops

Record = dict[str, float]
OnBatch = Callable[[int, int, dict[str, float]], None]
CHECKPOINT, BEST = "checkpoint.npz", "best.npz"
# Bytes of a checkpoint: weights, their average, and what the optimizer keeps.
_LARGEST = 1 << 33


def make_optimizer(config: OptimizerConfig) -> keras.optimizers.Optimizer:
    """Make the optimizer that `config` names; biases and normalisations do not decay."""
    decay = config.weight_decay or None
    optimizer: keras.optimizers.Optimizer
    if config.kind == "adamw":
        optimizer = keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay)
    elif config.kind == "adagrad":
        optimizer = keras.optimizers.Adagrad(config.learning_rate, weight_decay=decay)
    else:
        optimizer = keras.optimizers.SGD(
            config.learning_rate, momentum=config.momentum, nesterov=True, weight_decay=decay
        )
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def make_loss(config: LossConfig) -> keras.losses.Loss:
    """Make the loss that `config` names, of logits."""
    loss: keras.losses.Loss
    if config.kind == "focal":
        loss = keras.losses.BinaryFocalCrossentropy(
            gamma=config.gamma, from_logits=True, label_smoothing=config.label_smoothing, reduction="none"
        )
    else:
        loss = keras.losses.BinaryCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing, reduction="none"
        )
    return _PairLoss(loss, config.consistency)


class _PairLoss(keras.losses.Loss):
    """A loss of each patch, and how far what is said of its other form, half a batch away, diverges from it."""

    def __init__(self, loss: keras.losses.Loss, consistency: float) -> None:
        super().__init__(name="loss")
        self._loss, self._consistency = loss, consistency

    def call(self, y_true: Any, y_pred: Any) -> Any:
        own = self._loss(y_true, y_pred)
        if not self._consistency:
            return own
        ops = keras.ops
        here = y_pred[:, 0]
        half = ops.shape(here)[0] // 2
        # What the other form is taken for is a target, not something to be moved as well.
        other = ops.stop_gradient(ops.concatenate([here[half:], here[:half]]))
        p = ops.sigmoid(other)
        # Kullback-Leibler divergence of two Bernoulli distributions, from their logits.
        divergence = p * (other - here) + ops.softplus(here) - ops.softplus(other)
        return own + self._consistency * divergence


class _Step(keras.callbacks.Callback):
    """Set the learning rate before a batch, average the weights after it, and say how far it is."""

    def __init__(self, rate: Callable[[float], float], average: float, state: _State, on_batch: OnBatch | None) -> None:
        super().__init__()
        self._rate, self._average, self._state, self._on_batch = rate, average, state, on_batch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = self._rate(batch / self.params["steps"])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._average:
            self._state.average(self._average)
        if self._on_batch:
            self._on_batch(batch + 1, self.params["steps"], logs or {})


class _State:
    """Everything that a run has to remember: weights, their average, the optimizer, the epochs so far."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.averaged = [np.array(v) for v in model.get_weights()]
        self._steps = 0
        self.history: list[Record] = []

    def average(self, momentum: float) -> None:
        """Move the average towards the weights; early on faster, so that it forgets where it began."""
        self._steps += 1
        momentum = min(momentum, self._steps / (self._steps + 9))
        for mean, weight in zip(self.averaged, self.model.weights, strict=True):
            value = keras.ops.convert_to_numpy(weight)
            mean += ((1 - momentum) * (value - mean)).astype(mean.dtype)

    def _variables(self) -> list[keras.Variable]:
        # With the seeds of dropout, so that a resumed run draws what an uninterrupted one does.
        return [*self.model.variables, *self.model.optimizer.variables]

    def save(self, path: Path) -> None:
        """Write everything into one file, whole or not at all."""
        arrays = {f"variable{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._variables())}
        arrays |= {f"average{i}": v for i, v in enumerate(self.averaged)}
        _write(path, steps=self._steps, history=json.dumps(self.history), **arrays)

    def load(self, path: Path) -> None:
        """Read what `save` wrote; raises DataError where it is damaged or of another network."""
        held = _read(path)
        variables, averaged = ([v for k, v in held.items() if k.startswith(kind)] for kind in ("variable", "average"))
        if [v.shape for v in variables + averaged] != [tuple(v.shape) for v in [*self._variables(), *self.averaged]]:
            raise DataError(f"{path}: the checkpoint is of another network or optimizer; remove it to begin again")
        for variable, value in zip(self._variables(), variables, strict=True):
            variable.assign(value)
        self.averaged = averaged
        self._steps, self.history = int(held["steps"]), json.loads(str(held["history"]))


def _write(path: Path, *arrays: np.ndarray, **named: Any) -> None:
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, *arrays, **named)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Read what `_write` wrote, in that order; raises DataError where it is damaged."""
    try:
        check_zip(path, _LARGEST)
        with np.load(path, allow_pickle=False) as held:
            return dict(held.items())
    except (OSError, EOFError, TypeError, ValueError, MemoryError, zipfile.BadZipFile) as error:
        begin = f"remove {CHECKPOINT} and {BEST} to begin again"
        raise DataError(f"{path}: the checkpoint is damaged ({error}); {begin}") from error


def fit(
    model: keras.Model,
    training: TrainingSet,
    val: PatchArray,
    run: Path,
    config: TrainConfig,
    on_batch: OnBatch | None = None,
    on_epoch: Callable[[list[Record]], None] | None = None,
) -> tuple[keras.Model, list[Record]]:
    """Fit `model` (pixels -> logits) on `training`, and measure `val` after each epoch.

    Keeps a checkpoint in `run`; called again with the same arguments, it goes on from there and ends with the same
    weights. Returns the model and a record of each epoch. Raises DataError for a damaged checkpoint, and
    DivergedError where the network's outputs are no numbers any more.
    """
    keras.utils.set_random_seed(config.fit.seed)
    model.compile(
        make_optimizer(config.optimizer),
        make_loss(config.loss),
        weighted_metrics=[keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)],
    )
    model.optimizer.build(model.trainable_variables)
    state = _State(model)
    if (run / CHECKPOINT).exists():
        state.load(run / CHECKPOINT)
    history, optimizer = state.history, config.optimizer
    for epoch in range(len(history), config.fit.epochs):
        if stops(config.fit.early_stopping, [r["val_loss"] for r in history]):
            break
        began = perf_counter()
        losses = [r["val_loss"] for r in history]

        def rate(share: float, epoch: int = epoch, losses: list[float] = losses) -> float:
            return learning_rate(optimizer, epoch + share, config.fit.epochs, losses)

        step = _Step(rate, optimizer.average, state, on_batch)
        batches = Batches(training, config, epoch)
        fitted = model.fit(batches, epochs=1, callbacks=[step], shuffle=False, verbose=0).history
        record = {"epoch": epoch + 1, "learning_rate": rate(1.0), "loss": fitted["loss"][0]}
        record |= {"accuracy": fitted["accuracy"][0]} | _measure(state, val, optimizer.average > 0)
        history.append({**record, "seconds": round(perf_counter() - began, 1)})
        if best_epoch([r["val_loss"] for r in history]) == epoch:
            _write(run / BEST, *_result(state, optimizer.average > 0))
        state.save(run / CHECKPOINT)
        if on_epoch:
            on_epoch(history)
    best = config.fit.early_stopping and history
    model.set_weights(list(_read(run / BEST).values()) if best else _result(state, optimizer.average > 0))
    return model, history


def _result(state: _State, averaged: bool) -> list[np.ndarray]:
    return state.averaged if averaged else state.model.get_weights()


def _measure(state: _State, val: PatchArray, averaged: bool) -> Record:
    """Measure the weights that would be the result now; threshold 0.5, no temperature."""
    held = state.model.get_weights()
    state.model.set_weights(_result(state, averaged))
    logits = predict_logits(state.model, val.pixels)
    state.model.set_weights(held)
    if not np.isfinite(logits).all():
        raise DivergedError(
            f"epoch {len(state.history) + 1}: the outputs of the network are no numbers any more; "
            "take a smaller optimizer.learning_rate"
        )
    sign = np.where(val.labels == 1, 1.0, -1.0)
    record = {
        "val_loss": float(np.logaddexp(0, -sign * logits).mean()),
        "val_accuracy": float(((logits > 0) == (val.labels == 1)).mean()),
    }
    if len(np.unique(val.labels)) == 2:
        record["val_auc"] = float(roc_auc_score(val.labels, logits))
    return record


def predict_logits(model: keras.Model, pixels: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Return the logits (n,) float32 of patches (n, s, s, 3) uint8, without taking all of them into memory."""
    starts = range(0, len(pixels), batch_size)
    parts = [model.predict_on_batch(np.asarray(pixels[i : i + batch_size]))[:, 0] for i in starts]
    return np.concatenate([keras.ops.convert_to_numpy(p) for p in parts]).astype(np.float32)
