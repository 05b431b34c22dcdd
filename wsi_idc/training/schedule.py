"""Learning rates and stopping, as functions of what has happened: a resumed run decides as one never interrupted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsi_idc.training.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, progress: float, epochs: int, val_losses: Sequence[float]) -> float:
    """Return the learning rate after `progress` epochs (a fraction) of `epochs`, of which `val_losses` are known."""
    if progress < config.warmup:
        return config.learning_rate * max(progress / config.warmup, 0.05)
    if config.schedule == "cosine":
        share = (progress - config.warmup) / max(epochs - config.warmup, 1e-9)
        return config.learning_rate * 0.5 * (1 + np.cos(np.pi * min(share, 1.0)))
    if config.schedule == "step":
        return config.learning_rate * config.factor ** int(progress // config.patience)
    if config.schedule == "plateau":
        return config.learning_rate * config.factor ** _plateaus(val_losses, config.patience)
    return config.learning_rate


def _plateaus(losses: Sequence[float], patience: int) -> int:
    """Count how often `patience` epochs in a row brought no better loss."""
    best, waited, count = np.inf, 0, 0
    for loss in losses:
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited == patience:
            count, waited = count + 1, 0
    return count


def best_epoch(val_losses: Sequence[float]) -> int:
    """Return the number of the epoch with the lowest loss, the first of equals."""
    return int(np.argmin(val_losses))


def stops(patience: int, val_losses: Sequence[float]) -> bool:
    """Tell whether `patience` epochs (0: never) have gone by since the best one."""
    return 0 < patience < len(val_losses) - best_epoch(val_losses) if len(val_losses) else False
