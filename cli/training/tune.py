"""`wsi-idc tune`."""

from __future__ import annotations

from pathlib import Path

import click

from wsi_idc.base.extras import needs_extra
from wsi_idc.cli.options import echo, wrong_usage
from wsi_idc.cli.progress import progress_bar


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML file to start from.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Such as fit.epochs=6.")
@click.option("--space", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TOML file.")
@click.option("--method", type=click.Choice(["random", "bayesian", "hyperband"]), default="random", show_default=True)
@click.option("--trials", type=click.IntRange(1), default=20, show_default=True, help="Not for hyperband.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def tune(
    data: Path,
    output: Path,
    config: Path | None,
    settings: tuple[str, ...],
    space: Path | None,
    method: str,
    trials: int,
    seed: int,
) -> None:
    """Search for the configuration with the highest AUC on the validation patients, with KerasTuner.

    --space has a line for each key to vary, such as "optimizer.learning_rate" = {low = 1e-4, high = 1e-2, log = true}
    or "model.architecture" = {choices = ["residual_cnn", "cancernet"]}; without it, learning rate, weight decay, stain
    jitter and label smoothing. The same command again goes on where it was interrupted. Writes best.toml, which
    `wsi-idc train --config` takes, results.csv, results.png, and every trial's run.
    """
    with needs_extra("train"):
        from wsi_idc.training.config import read_config
        from wsi_idc.training.select import check_model, check_parts

    # Before Keras is imported, which takes seconds.
    with wrong_usage():
        base = read_config(config, settings)
        check_model(base.model, data)
        check_parts(data, base.data)
    with needs_extra("train"):
        from wsi_idc.training.run import Hooks
        from wsi_idc.training.tune import read_space
        from wsi_idc.training.tune import tune as search

    with wrong_usage():
        keys = read_space(space)
    with progress_bar("{task.description}", "batches of an epoch") as bar:
        task = bar.add_task("first trial")

        def on_trial(name: str, auc: float) -> None:
            echo(f"trial {name}: AUC {auc:.4f}")
            bar.update(task, description=f"after trial {name}", completed=0)

        def on_batch(done: int, total: int, logs: dict[str, float]) -> None:
            bar.update(task, completed=done, total=total)

        hooks = Hooks(on_batch, on_trial=on_trial)
        search(data, base, keys, output, method=method, trials=trials, seed=seed, hooks=hooks)
    echo(output / "best.toml")
