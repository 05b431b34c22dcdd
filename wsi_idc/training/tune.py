"""Search for a better configuration with KerasTuner; each trial is a training of its own, resumed like any other."""

from __future__ import annotations

import csv
import logging
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial, reduce
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import tomli_w
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from wsi_idc.base.disk.left import remove_left
from wsi_idc.base.files import locked, replacing
from wsi_idc.base.inputs.bounded import read_text
from wsi_idc.base.inputs.documents import read_json
from wsi_idc.base.inputs.toml import read_toml_file
from wsi_idc.base.pages.figures import draw_panels
from wsi_idc.errors import DataError, DivergedError, OutputError, WsiIdcError
from wsi_idc.training.config import TrainConfig, override
from wsi_idc.training.identity import content_of_config
from wsi_idc.training.left.logs import errors_of_disk
from wsi_idc.training.run import Hooks, train

_log = logging.getLogger(__name__)

DEFAULT_SPACE: dict[str, Any] = {
    "optimizer.learning_rate": {"low": 3e-4, "high": 6e-3, "log": True},
    "optimizer.weight_decay": {"low": 1e-4, "high": 1e-1, "log": True},
    "augment.stain_scale": {"low": 0.0, "high": 0.4},
    "loss.label_smoothing": {"choices": [0.0, 0.05, 0.1]},
}
_OBJECTIVE = keras_tuner.Objective("val_auc", "max")
_RANGE = {"low", "high", "log"}
# Where Hyperband says how many epochs a trial has.
_EPOCHS = "tuner/epochs"
SEARCH = "search.toml"
# Keys of a configuration whose values are names of lists of patients, or of weights.
_FROM = ("data.split", "model.init", "model.weights")
# Where KerasTuner keeps what it has tried.
_SEARCHED = "search"
_LARGEST = 1 << 20


def read_space(file: Path | None) -> dict[str, Any]:
    """Read a TOML file of keys and their ranges ({low, high, log}) or choices ({choices}); none is DEFAULT_SPACE."""
    if file is None:
        return DEFAULT_SPACE
    try:
        space = read_toml_file(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{file}: is not TOML ({error})") from error
    if not space:
        raise DataError(f"{file}: names no key to vary")
    for key, entry in space.items():
        if reason := _unfit(entry):
            raise DataError(f"{file}: {key}: {reason}")
    return space


def _unfit(entry: Any) -> str:
    """Say what is wrong with an entry of a space; "" where nothing is."""
    if not isinstance(entry, dict) or not (set(entry) == {"choices"} or {"low", "high"} <= set(entry) <= _RANGE):
        return "give {low = ..., high = ..., log = true} or {choices = [...]}, the key in quotes"
    if "choices" in entry:
        kinds = {type(choice) for choice in entry["choices"]} if isinstance(entry["choices"], list) else set()
        one_kind = len(kinds) == 1 and kinds <= {str, int, float, bool}
        return "" if one_kind else "choices are strings, whole numbers, other numbers, or true and false"
    low, high, log = entry["low"], entry["high"], entry.get("log", False)
    # Whole numbers may be larger than any float.
    if not all(type(v) in (int, float) and abs(v) <= sys.float_info.max for v in (low, high)) or not low < high:
        return "low is a number less than high"
    if type(log) is not bool or (log and low <= 0):
        return "log is true or false, and true only where low is above 0"
    return ""


def _hyperparameters(base: TrainConfig, space: Mapping[str, Any]) -> keras_tuner.HyperParameters:
    """Make the space for KerasTuner; raises DataError for a key that is not in a configuration, or a value unfit."""
    found = keras_tuner.HyperParameters()
    for key, entry in space.items():
        tried = [override(base, {key: v}) for v in entry.get("choices") or (entry["low"], entry["high"])]
        if "choices" in entry:
            found.Choice(key, entry["choices"])
            continue
        # What the configuration makes of it tells: 0 and 1 may be the ends of a range of fractions.
        whole = all(isinstance(_value(config, key), int) for config in tried)
        make = found.Int if whole else found.Float
        make(key, entry["low"], entry["high"], sampling="log" if entry.get("log") else "linear")
    return found


def _value(config: TrainConfig, key: str) -> Any:
    return reduce(lambda place, name: place[name], key.split("."), config.model_dump())


class _Tuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Runs the trials that an oracle asks for."""

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        data: Path,
        base: TrainConfig,
        space: Mapping[str, Any],
        folder: Path,
        hooks: Hooks,
    ) -> None:
        self._data, self._base, self._space, self._folder, self._hooks = data, base, space, folder, hooks
        with redirect_stdout(None):  # It says which of its own files it reads.
            super().__init__(oracle, directory=str(folder), project_name=_SEARCHED)

    def run_trial(self, trial: Any, *_: Any, **__: Any) -> dict[str, float]:
        """Train one configuration; killed in the middle, the next search goes on with it."""
        keras.utils.clear_session()
        epochs = trial.hyperparameters.values.get(_EPOCHS)
        try:
            config = override(self._base, self.values_of(trial) | ({"fit.epochs": epochs} if epochs else {}))
            result = train(self._data, config, self._folder / "trials" / trial.trial_id, Hooks(self._hooks.on_batch))
        except DivergedError as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        except (WsiIdcError, OSError) as error:
            # Any other error KerasTuner would take for a fault of this trial, and go on.
            raise keras_tuner.errors.FatalError(str(error)) from error
        auc = result["metrics"]["val"]["auc"]["value"]
        if self._hooks.on_trial:
            self._hooks.on_trial(trial.trial_id, auc)
        return {"val_auc": auc}

    def values_of(self, trial: Any) -> dict[str, Any]:
        """Return the value of each key of the space in a trial."""
        held = trial.hyperparameters.values
        # KerasTuner makes 1 and 0 of true and false.
        choices = {key: entry.get("choices", [held[key]]) for key, entry in self._space.items()}
        return {key: values[values.index(held[key])] for key, values in choices.items()}


def tune(
    data: Path,
    base: TrainConfig,
    space: Mapping[str, Any],
    folder: Path,
    *,
    method: str = "random",
    trials: int = 20,
    seed: int = 0,
    hooks: Hooks | None = None,
) -> TrainConfig:
    """Search `space` around `base` for the configuration with the highest AUC on the validation patches.

    `method` is "random", "bayesian" or "hyperband", which gives few epochs to most and base.fit.epochs to the best.
    Called again with the same arguments, or more `trials`, it goes on where it stopped. A trial that diverges is left
    out. Leaves `best.toml`, which `train` takes, `results.csv` with a row for each trial, the best first,
    `results.png`, and the runs themselves under `trials`.
    Raises DataError for a key or value that is not of a configuration, OutputError where `folder` holds another search.
    """
    # KerasTuner takes a seed of 0 for none.
    common = {"objective": _OBJECTIVE, "seed": seed + 1, "hyperparameters": _hyperparameters(base, space)}
    common["max_consecutive_failed_trials"] = sys.maxsize
    if method == "hyperband":
        if "fit.epochs" in space or not base.fit.epochs:
            raise DataError("hyperband gives trials up to fit.epochs epochs: that is 1 or more, and not in the space")
        oracle = keras_tuner.oracles.HyperbandOracle(max_epochs=base.fit.epochs, **common)
    elif method == "bayesian":
        oracle = keras_tuner.oracles.BayesianOptimizationOracle(max_trials=trials, **common)
    else:
        oracle = keras_tuner.oracles.RandomSearchOracle(max_trials=trials, **common)
    with locked(folder):
        claimed = {"method": method, "seed": seed, "space": dict(space), "base": base.model_dump()}
        _claim(folder, claimed | {"content": _contents(data, base, space)})
        tuner = _search(partial(_Tuner, oracle, data, base, space, folder, hooks or Hooks()), folder)
        done = [t for t in oracle.trials.values() if t.status == "COMPLETED"]
        if not done:
            raise DataError(f"{folder}: none of {len(oracle.trials)} trials came to its end; search lower rates")
        # Of equals the first one, in whichever order they were read again.
        done.sort(key=lambda t: (-t.score, len(t.trial_id), t.trial_id))
        best = override(base, tuner.values_of(done[0]))
        with replacing(folder / "best.toml") as temporary:
            temporary.write_text(best.toml(), encoding="utf-8")
        rows = [
            {**t.hyperparameters.values, **tuner.values_of(t), "trial": t.trial_id, "val_auc": t.score} for t in done
        ]
        _write_results(folder, rows, space)
    return best


def _search(make: Callable[[], _Tuner], folder: Path) -> _Tuner:
    """Make a tuner and have it search; raises what a training raises, and OutputError for KerasTuner's own files."""
    remove_left(folder)
    _forget_damaged(folder / _SEARCHED)
    with errors_of_disk(folder):
        tuner = make()
        try:
            tuner.search(verbose=0)
        except keras_tuner.errors.FatalError as error:
            raise error.__cause__ or error from None
    return tuner


def _forget_damaged(searched: Path) -> None:
    """Remove what KerasTuner keeps where a kill, or a full disk, cut a file of it short.

    It then asks for the same trials again; the trainings of those that were done are there, and say so at once.
    """
    files = [*searched.rglob("*.json"), *(trial / "trial.json" for trial in searched.glob("trial_*"))]
    for file in files:
        try:
            read_json(file, _LARGEST)
        except (OSError, ValueError):
            _log.info("%s: is damaged; the search is gone through again", file)
            shutil.rmtree(searched)
            return


def _contents(data: Path, base: TrainConfig, space: Mapping[str, Any]) -> list[str]:
    """Identify what trials are made from: with the base, and with each choice of other patients or weights."""
    choices = [{key: value} for key in _FROM if key in space for value in space[key].get("choices", ())]
    return [content_of_config(override(base, choice), data) for choice in ({}, *choices)]


def _claim(folder: Path, search: Mapping[str, Any]) -> None:
    """Keep what is searched with the results, or see that it is what was kept."""
    path, text = folder / SEARCH, tomli_w.dumps(search)
    if not path.exists():
        if held := sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")):
            raise OutputError(f"{folder}: holds {held[0]}, which is of no search; choose another -o")
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    elif read_text(path, _LARGEST) != text:
        raise OutputError(
            f"{folder}: holds another search (patches, space, method, seed or configuration), or one of an older "
            "version; choose another -o"
        )


def _write_results(folder: Path, rows: Sequence[Mapping[str, Any]], space: Mapping[str, Any]) -> None:
    # What else Hyperband notes is of no use here.
    columns = ["trial", "val_auc", *space, *([_EPOCHS] if _EPOCHS in rows[0] else [])]
    with replacing(folder / "results.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    scores = [r["val_auc"] for r in rows]

    def scatter(axes: Axes, key: str) -> None:
        values = [r[key] for r in rows]
        axes.set(title=key, xlabel=key.rpartition(".")[2], ylabel="AUC on val")
        if choices := space[key].get("choices"):
            axes.scatter([choices.index(v) for v in values], scores)
            axes.set_xticks(range(len(choices)), map(str, choices), rotation=15, ha="right", rotation_mode="anchor")
            axes.set_xlim(-0.5, len(choices) - 0.5)
            return
        axes.scatter(values, scores)
        if space[key].get("log"):
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        # The range is the one that was searched, so that a best value at its edge shows.
        axes.set_xlim(space[key]["low"], space[key]["high"])

    draw_panels(folder / "results.png", [partial(scatter, key=key) for key in space], size=(3.4, 3.2))
