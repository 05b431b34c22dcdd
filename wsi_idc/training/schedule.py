"""Learning rates and stopping, as functions of what has happened: a resumed run decides as one never interrupted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wsi_idc.training.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, progress: float, epochs: int, val_losses: Sequence[float]) -> float:
    """Return the learning rate after `progress` epochs (a fraction) of `epochs`, of which `val_losses` are known."""
    rate = config.learning_rate
    if progress < config.warmup:
        rate *= max(progress / config.warmup, 0.05)
    if config.schedule == "cosine":
        share = (progress - config.warmup) / max(epochs - config.warmup, 1e-9)
        rate *= 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
    elif config.schedule == "step":
        rate *= config.factor ** int(progress // config.patience)
    elif config.schedule == "plateau":
        rate *= config.factor ** _plateaus(val_losses, config.patience)
    return rate


def _plateaus(losses: Sequence[float], patience: int) -> int:
    """Count how often `patience` epochs in a row brought no better loss."""
    best, waited, count = math.inf, 0, 0
    for loss in losses:
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited == patience:
            count, waited = count + 1, 0
    return count


def best_epoch(val_losses: Sequence[float]) -> int:
    """Return the number of the epoch with the lowest loss, the first of equals."""
    return val_losses.index(min(val_losses))


def stops(patience: int, val_losses: Sequence[float]) -> bool:
    """Tell whether `patience` epochs (0: never) have gone by since the best one."""
    return 0 < patience < len(val_losses) - best_epoch(val_losses) if len(val_losses) else False
