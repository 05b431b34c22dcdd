"""Fit a patch classifier with Keras: seeded, checkpointed after every epoch, resumed where it stopped."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from wsi_idc.training.augment import augment


@dataclass(frozen=True, slots=True)
class FitConfig:
    """What a training run is made of; the learning rate warms up for one epoch, then follows a cosine to zero."""

    epochs: int = 12
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 5e-3
    seed: int = 1


class AugmentedPatches(keras.utils.PyDataset):
    """Shuffled, augmented batches of decoded patches; the same batches for the same seed and epoch."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, config: FitConfig, epoch: int = 0) -> None:
        """Take pixels (n, s, s, 3) uint8 and labels (n,); `epoch` is the one to begin with."""
        super().__init__(workers=1, use_multiprocessing=False)
        self._pixels, self._labels, self._config, self._epoch = pixels, labels, config, epoch
        self._shuffle()

    def _shuffle(self) -> None:
        self._order = np.random.default_rng([self._config.seed, self._epoch]).permutation(len(self._labels))

    def __len__(self) -> int:
        """Return the number of whole batches in an epoch."""
        return len(self._labels) // self._config.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one augmented batch."""
        size = self._config.batch_size
        rows = np.sort(self._order[index * size : (index + 1) * size])
        rng = np.random.default_rng([self._config.seed, self._epoch, index])
        return augment(self._pixels[rows], rng), self._labels[rows].astype(np.float32)[:, None]

    def on_epoch_end(self) -> None:
        """Draw the next epoch's order."""
        self._epoch += 1
        self._shuffle()


def fit(model: keras.Model, pixels: np.ndarray, labels: np.ndarray, run: Path, config: FitConfig) -> keras.Model:
    """Fit `model` (pixels -> logits) and keep checkpoints and `log.csv` in `run`; called again, it resumes.

    The weights after the last epoch are the result: nothing is chosen on the validation patients.
    """
    run.mkdir(parents=True, exist_ok=True)
    log, checkpoint = run / "log.csv", run / "checkpoint.keras"
    done = 0
    if checkpoint.exists() and log.exists():
        model = keras.models.load_model(checkpoint)
        done = len(log.read_text(encoding="utf-8").splitlines()) - 1
    else:
        steps = len(labels) // config.batch_size
        schedule = keras.optimizers.schedules.CosineDecay(
            config.learning_rate / 20,
            steps * (config.epochs - 1),
            warmup_target=config.learning_rate,
            warmup_steps=steps,
        )
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        model.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))
    keras.utils.set_random_seed(config.seed + done)
    model.fit(
        AugmentedPatches(pixels, labels, config, done),
        epochs=config.epochs,
        initial_epoch=done,
        callbacks=[keras.callbacks.CSVLogger(log, append=True), keras.callbacks.ModelCheckpoint(checkpoint)],
        shuffle=False,
        verbose=2,
    )
    return model
