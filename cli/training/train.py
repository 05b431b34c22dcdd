"""`wsi-idc train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wsi_idc.base.extras import needs_extra
from wsi_idc.cli.options import Sectioned, echo, wrong_usage
from wsi_idc.cli.progress import progress_bar

# Options that stand for keys of the configuration.
_KEYS = {
    "architecture": "model.architecture",
    "weights": "model.weights",
    "init": "model.init",
    "split": "data.split",
    "epochs": "fit.epochs",
    "seed": "fit.seed",
}


_SECTIONS = {
    "What": ("architecture", "weights", "init", "split", "folds"),
    "Where": ("output", "config"),
    "How": ("settings", "epochs", "seed"),
}


@click.command(cls=Sectioned, sections=_SECTIONS)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML file.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Such as optimizer.learning_rate=1e-3.")
@click.option("--architecture", metavar="NAME", help="model.architecture")
@click.option("--weights", metavar="none|imagenet|FILE", help="model.weights")
@click.option("--init", metavar="NAME|DIR", help="model.init: go on from this model package.")
@click.option("--split", metavar="official|DIR", help="data.split: what `wsi-idc data split` wrote.")
@click.option(
    "--folds",
    metavar="N|hospital",
    help="Train once for each of N folds of the patients, or with each hospital held out; test patients in none.",
)
@click.option("--epochs", type=click.IntRange(0), help="fit.epochs")
@click.option("--seed", type=click.IntRange(0), help="fit.seed")
def train(
    data: Path, output: Path, config: Path | None, settings: tuple[str, ...], folds: str | None, **shortcuts: str | int
) -> None:
    """Train a model on the labelled patches in DATA (Kaggle's layout).

    What is trained and how is in a TOML file; --set and the options above it come first. The configuration is kept with
    the run. The same command again goes on where it was interrupted. `wsi-idc models package` makes a model of the run.

    With --folds a training for each fold goes into a folder of its own, and out-of-fold.csv has what is said of every
    patch by the model that had not seen its patient.
    """
    if folds is not None and folds != "hospital" and not (folds.isdecimal() and int(folds) > 1):
        raise click.BadParameter(f"{folds}: give a number of folds, at least 2, or hospital", param_hint="--folds")
    with needs_extra("train"):
        from wsi_idc.training.config import override, read_config
        from wsi_idc.training.select import check_model, check_parts

    given = {_KEYS[name]: value for name, value in shortcuts.items() if value is not None}
    # Before Keras is imported, which takes seconds: what is wrong with the configuration is said at once.
    with wrong_usage():
        chosen = override(read_config(config, settings), given)
        check_model(chosen.model, data)
        if folds is None:
            check_parts(data, chosen.data)
    with needs_extra("train"):
        from wsi_idc.training.folds import train_folds
        from wsi_idc.training.run import Hooks
        from wsi_idc.training.run import train as run_training

    with progress_bar("{task.description}") as bar:
        epoch = bar.add_task("epoch 1")
        views = bar.add_task("views of the sections", total=chosen.context.variants, visible=False)

        ended = 0

        def on_batch(done: int, total: int, logs: dict[str, float]) -> None:
            bar.update(epoch, completed=done, total=total, description=f"epoch {ended + 1}")

        def on_epoch(history: list[dict[str, float]]) -> None:
            nonlocal ended
            ended = len(history)
            values = history[-1].items()
            echo("  ".join(f"{k} {v:.0f}" if k == "epoch" else f"{k} {v:.4g}" for k, v in values))
            # After the last one no batch comes any more, and what was learnt is measured for a while.
            bar.update(epoch, description=f"measured after epoch {ended}")

        def on_data(training: Any, val: Any) -> None:
            for name, part in (("training", training), ("validation", val)):
                left_out = f", {part.left_out} of another size left out" if part.left_out else ""
                echo(f"{name}: {len(part)} patches of {len(set(part.patients))} patients{left_out}")
                if kept := getattr(part.pixels, "filename", None):
                    size = Path(kept).stat().st_size / 2**20
                    echo(f"  decoded into {kept}, {size:.1f} MiB, till `wsi-idc data cache --remove`", err=True)

        def on_view(done: int) -> None:
            bar.update(views, completed=done, visible=True)

        hooks = Hooks(on_batch, on_epoch, on_view, on_data)
        if folds is None:
            result = run_training(data, chosen, output, hooks)
        else:

            def on_fold(name: str, metrics: dict[str, Any]) -> None:
                echo(_numbers(name, metrics))

            result = train_folds(data, chosen, folds, output, hooks, on_fold)
    echo(f"temperature {result['temperature']}, threshold {result['threshold']}, cross-validated over patients:")
    for group, values in result["metrics"].items():
        echo(_numbers(group, values))
    for note in result.get("notes", []):
        echo(f"warning: {note}", err=True)
    echo(output)


def _numbers(group: str, values: dict[str, Any]) -> str:
    named = ((k, values[k]["value"]) for k in ("auc", "f1", "balanced_accuracy", "accuracy", "ece"))
    numbers = (f"{k} {value:.4f}" for k, value in named if value is not None)
    return f"  {group:22}{values['patients']:3} patients  {'  '.join(numbers)}"
