"""Search for a better configuration with KerasTuner; each trial is a training of its own, resumed like any other."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wsi_idc.errors import DataError
from wsi_idc.output import replacing
from wsi_idc.training.config import TrainConfig, override
from wsi_idc.training.run import Hooks, train

DEFAULT_SPACE: dict[str, Any] = {
    "optimizer.learning_rate": {"low": 3e-4, "high": 6e-3, "log": True},
    "optimizer.weight_decay": {"low": 1e-4, "high": 1e-1, "log": True},
    "augment.stain_scale": {"low": 0.0, "high": 0.4},
    "loss.label_smoothing": {"choices": [0.0, 0.05, 0.1]},
}
_OBJECTIVE = keras_tuner.Objective("val_auc", "max")


def read_space(file: Path | None) -> dict[str, Any]:
    """Read a TOML file of keys and their ranges ({low, high, log}) or choices ({choices}); none is DEFAULT_SPACE."""
    if file is None:
        return DEFAULT_SPACE
    try:
        space = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: is not TOML ({error})") from error
    for key, entry in space.items():
        known = isinstance(entry, dict) and (set(entry) == {"choices"} or {"low", "high"} <= set(entry) <= _RANGE)
        if not known:
            raise DataError(f"{file}: {key}: give {{low = ..., high = ..., log = true}} or {{choices = [...]}}")
    return space


_RANGE = {"low", "high", "log"}


def _hyperparameters(space: Mapping[str, Any]) -> keras_tuner.HyperParameters:
    found = keras_tuner.HyperParameters()
    for key, entry in space.items():
        if "choices" in entry:
            found.Choice(key, entry["choices"])
            continue
        sampling = "log" if entry.get("log") else "linear"
        make = found.Int if isinstance(entry["low"], int) and isinstance(entry["high"], int) else found.Float
        make(key, entry["low"], entry["high"], sampling=sampling)
    return found


class _Tuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Runs the trials that an oracle asks for."""

    def __init__(self, oracle: keras_tuner.Oracle, data: Path, base: TrainConfig, folder: Path) -> None:
        self._data, self._base, self._folder = data, base, folder
        super().__init__(oracle, directory=str(folder), project_name="search")

    def run_trial(self, trial: Any, *_: Any, **__: Any) -> dict[str, float]:
        """Train one configuration; killed in the middle, the next search goes on with it."""
        config = self.config_of(trial)
        result = train(self._data, config, self._folder / "trials" / trial.trial_id, Hooks())
        return {"val_auc": result["metrics"]["val"]["auc"]["value"]}

    def config_of(self, trial: Any) -> TrainConfig:
        """Put the values of a trial over the base configuration; Hyperband also sets the number of epochs."""
        values = dict(trial.hyperparameters.values)
        epochs = values.pop("tuner/epochs", None)
        chosen = {k: v for k, v in values.items() if not k.startswith("tuner/")}
        return override(self._base, chosen | ({"fit.epochs": epochs} if epochs else {}))


def tune(
    data: Path,
    base: TrainConfig,
    space: Mapping[str, Any],
    folder: Path,
    *,
    method: str = "random",
    trials: int = 20,
    seed: int = 0,
) -> TrainConfig:
    """Search `space` around `base` for the configuration with the highest AUC on the validation patches.

    `method` is "random", "bayesian" or "hyperband", which gives few epochs to most and base.fit.epochs to the best.
    Called again with the same arguments it goes on where it stopped. Leaves `best.toml`, which `train` takes,
    `results.csv` with a row for each trial, `results.png`, and the runs themselves under `trials`.
    """
    config_keys = override(base, {})  # Fails early where the base itself is not valid.
    for key, entry in space.items():
        override(config_keys, {key: entry["choices"][0] if "choices" in entry else entry["low"]})
    # KerasTuner takes a seed of 0 for none.
    common = {"objective": _OBJECTIVE, "seed": seed + 1, "hyperparameters": _hyperparameters(space)}
    if method == "hyperband":
        oracle = keras_tuner.oracles.HyperbandOracle(max_epochs=base.fit.epochs, **common)
    elif method == "bayesian":
        oracle = keras_tuner.oracles.BayesianOptimizationOracle(max_trials=trials, **common)
    else:
        oracle = keras_tuner.oracles.RandomSearchOracle(max_trials=trials, **common)
    tuner = _Tuner(oracle, data, base, folder)
    tuner.search(verbose=0)
    done = [t for t in oracle.trials.values() if t.score is not None]
    done.sort(key=lambda t: t.score, reverse=True)
    best = override(tuner.config_of(done[0]), {"fit.epochs": base.fit.epochs})
    with replacing(folder / "best.toml") as temporary:
        temporary.write_text(best.toml(), encoding="utf-8")
    rows = [{"trial": t.trial_id, "val_auc": t.score, **t.hyperparameters.values} for t in done]
    _write_results(folder, rows, list(space))
    return best


def _write_results(folder: Path, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    with replacing(folder / "results.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    figure = Figure(figsize=(3.2 * len(keys), 3), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, key in zip(figure.subplots(1, len(keys), squeeze=False)[0], keys, strict=True):
        values = [r[key] for r in rows]
        axes.scatter(
            values if isinstance(values[0], (int, float)) else [str(v) for v in values], [r["val_auc"] for r in rows]
        )
        axes.set(xlabel=key, ylabel="AUC on val")
    figure.suptitle("Trials")
    for form in ("png", "svg"):
        with replacing(folder / f"results.{form}") as temporary:
            figure.savefig(temporary, dpi=150)
