"""Fit the context network of a model on the features that a frozen encoder gives the patches of whole sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from wsi_idc.data.kaggle import MISSING, LabelledPatch, place_patches
from wsi_idc.training.augment import StainChange, change_stain, symmetry


@dataclass(frozen=True, slots=True)
class SectionFeatures:
    """The patches of many patients by place, and their features.

    `grids` has for each patient (rows, cols) row numbers into `labels` (n,) and into each of `variants`, (n, f)
    float16, MISSING where there is no patch. Variant 0 is the patches as they are; variant v has them changed by
    symmetry v % 8 and by a stain change of the patient.
    """

    grids: dict[str, np.ndarray]
    labels: np.ndarray
    variants: list[np.ndarray]


def encode_sections(
    encoder: keras.Model, pixels: np.ndarray, patches: Sequence[LabelledPatch], variants: int, seed: int
) -> SectionFeatures:
    """Encode patches (n, s, s, 3) uint8 as they are, and in `variants` - 1 other views of their sections."""
    names = sorted({p.patient for p in patches})
    owner = np.searchsorted(names, [p.patient for p in patches])
    rng = np.random.default_rng(seed)
    encoded = []
    for variant in range(variants):
        change = StainChange.draw(len(names), rng) if variant else None
        parts = []
        for start in range(0, len(pixels), 256):
            rows = slice(start, start + 256)
            view = symmetry(pixels[rows], variant % 8, axes=(1, 2))
            if change:
                view = change_stain(view, change.take(owner[rows]))
            parts.append(np.asarray(encoder.predict_on_batch(np.ascontiguousarray(view)), np.float16))
        encoded.append(np.concatenate(parts))
    return SectionFeatures(place_patches(patches), np.array([p.label for p in patches]), encoded)


@dataclass(frozen=True, slots=True)
class ContextConfig:
    """What fitting a context network is made of; `side` is the side of a window in patches."""

    steps: int = 500
    batch_size: int = 24
    side: int = 20
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    seed: int = 0


class SectionWindows(keras.utils.PyDataset):
    """Random windows of sections, each in a random view, with neighbours missing at random in every other one."""

    def __init__(self, features: SectionFeatures, config: ContextConfig) -> None:
        """Draw from `features`; a batch depends on the seed and its number only."""
        super().__init__(workers=1, use_multiprocessing=False)
        self._features, self._config = features, config
        self._patients = sorted(features.grids)
        # By the root of its patches, a section counts more than a few lone patches, and not as much as all of them.
        weights = np.sqrt([(features.grids[p] != MISSING).sum() for p in self._patients])
        self._weights = weights / weights.sum()

    def __len__(self) -> int:
        """Return the number of batches."""
        return self._config.steps

    def __getitem__(self, index: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
        """Return a batch: (features, present), labels, and weights that are 0 where there is no patch."""
        rng = np.random.default_rng([self._config.seed, index])
        drawn = rng.choice(self._patients, self._config.batch_size, p=self._weights)
        features, numbers = zip(*(self._window(p, rng) for p in drawn), strict=True)
        places = np.stack(numbers)
        present = (places != MISSING).astype(np.float32)
        labels = np.where(places == MISSING, 0, self._features.labels[places]).astype(np.float32)
        return (np.stack(features), present[..., None]), labels[..., None], present

    def _window(self, patient: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        side = self._config.side
        variant = int(rng.integers(len(self._features.variants)))
        grid = np.pad(symmetry(self._features.grids[patient], variant % 8), side, constant_values=MISSING)
        middle = rng.choice(np.argwhere(grid != MISSING))
        top, left = middle - rng.integers(0, side, 2)
        window = grid[top : top + side, left : left + side].copy()
        if rng.random() < 0.5:
            window[rng.random(window.shape) < rng.random()] = MISSING
        values = self._features.variants[variant][window].astype(np.float32)
        return values * (window != MISSING)[..., None], window


def fit_context(model: keras.Model, features: SectionFeatures, config: ContextConfig) -> keras.Model:
    """Fit `model` (features, present -> logits) on random windows; its weights end as their moving average."""
    keras.utils.set_random_seed(config.seed)
    warmup = config.steps // 10
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate / 20, config.steps - warmup, warmup_target=config.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, use_ema=True, ema_momentum=0.99)
    loss = keras.losses.BinaryCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    model.compile(optimizer, loss)
    model.fit(SectionWindows(features, config), epochs=1, shuffle=False, verbose=2)
    return model


def context_logits(model: keras.Model, features: SectionFeatures) -> np.ndarray:
    """Return the logit (n,) of every patch in its section, as it is (variant 0)."""
    out = np.full(len(features.labels), np.nan, np.float32)
    for grid in features.grids.values():
        present = grid != MISSING
        values = features.variants[0][grid].astype(np.float32) * present[..., None]
        logits = model.predict_on_batch([values[None], present[None, ..., None].astype(np.float32)])
        out[grid[present]] = np.asarray(logits)[0, ..., 0][present]
    return out
