"""Batches for Keras: shuffled and augmented, the same for the same seed, epoch and number."""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
import numpy as np
from scipy.ndimage import uniform_filter

from wsi_idc.data.kaggle import MISSING, place_patches
from wsi_idc.data.store import PatchArray
from wsi_idc.errors import DataError
from wsi_idc.training.augmentation.augment import Stains, augment
from wsi_idc.training.augmentation.formation import reform
from wsi_idc.training.config import TrainConfig

# Enough pixels of a patient to know its stains by.
_PATCHES_FOR_STAINS = 64


@dataclass(frozen=True)
class TrainingSet:
    """Patches to train on, with what augmentation must know about their patients."""

    data: PatchArray
    stains: dict[str, Stains] = field(default_factory=dict)
    targets: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))

    @classmethod
    def of(cls, data: PatchArray, config: TrainConfig) -> TrainingSet:
        """Check that there is something to learn, and estimate the stains of the patients where these are exchanged.

        Raises DataError for patches of one class only, or fewer than a batch.
        """
        if len(np.unique(data.labels)) < 2:
            raise DataError(f"all {len(data)} training patches are of class {data.labels[0]}; both are needed")
        if len(data) < config.fit.batch_size:
            raise DataError(f"{len(data)} training patches are fewer than fit.batch_size = {config.fit.batch_size}")
        stains = {}
        if config.augment.macenko:
            for patient in np.unique(data.patients):
                rows = np.flatnonzero(data.patients == patient)
                own = Stains.of(data.pixels[rows[:: max(1, len(rows) // _PATCHES_FOR_STAINS)]])
                if own:
                    stains[str(patient)] = own
        return cls(data, stains, soft_labels(data, config.loss.soft_edges))


def soft_labels(data: PatchArray, share: float) -> np.ndarray:
    """Mix `share` of the mean label of the 3x3 patches around each into its label: (n,) float32.

    Only where at least six of these are there, the patch itself among them: of scattered patches nothing is known.
    """
    targets = data.labels.astype(np.float32)
    if not share:
        return targets
    for grid in place_patches(data.patches, data.size).values():
        there = grid != MISSING
        idc = there & (data.labels[grid] == 1)
        count, positive = (uniform_filter(v.astype(np.float32), 3, mode="constant") * 9 for v in (there, idc))
        known = there & (count > 5.5)
        rows = grid[known]
        targets[rows] = (1 - share) * data.labels[rows] + share * positive[known] / count[known]
    return targets


class Batches(keras.utils.PyDataset):
    """One epoch: (pixels (b, s, s, 3) uint8, labels (b, 1) float32, weights (b,) float32).

    For a loss with consistency the second half of a batch has the patches of the first in another form; each patch is
    then seen twice in an epoch.
    """

    def __init__(self, training: TrainingSet, config: TrainConfig, epoch: int) -> None:
        """Draw the order of epoch number `epoch`; only whole batches are taken."""
        super().__init__(workers=1, use_multiprocessing=False)
        self._training, self._config, self._epoch = training, config, epoch
        self._forms = 2 if config.loss.consistency else 1
        self._size = max(1, config.fit.batch_size // self._forms)
        labels = training.data.labels
        self._order = np.random.default_rng([config.fit.seed, epoch]).permutation(len(labels))
        self._weights = np.ones(2, np.float32)
        if config.loss.class_weights == "balanced":
            self._weights = (len(labels) / (2 * np.bincount(labels, minlength=2))).astype(np.float32)

    def __len__(self) -> int:
        """Return the number of whole batches."""
        return len(self._order) // self._size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return one augmented batch."""
        rows = np.sort(self._order[index * self._size : (index + 1) * self._size])
        rng = np.random.default_rng([self._config.fit.seed, self._epoch, index])
        data = self._training.data
        forms = [self._form(rows, rng) for _ in range(self._forms)]
        targets = np.tile(self._training.targets[rows], self._forms)
        weights = np.tile(self._weights[data.labels[rows]], self._forms)
        return np.concatenate(forms), targets.astype(np.float32)[:, None], weights

    def _form(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        data = self._training.data
        pixels = augment(data.pixels[rows], self._config.augment, rng, data.patients[rows], self._training.stains)
        return reform(pixels, self._config.formation, rng) if self._config.formation.share else pixels
