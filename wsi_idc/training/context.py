"""Fit the context network of a model on the features that a frozen encoder gives the patches of whole sections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from wsi_idc.base.files import replacing
from wsi_idc.data.kaggle import MISSING, place_patches
from wsi_idc.data.store import PatchArray
from wsi_idc.inference.predictor import slide_sums
from wsi_idc.inference.symmetry import symmetry
from wsi_idc.models.architectures import context_mean, context_network
from wsi_idc.training.augmentation.augment import StainChange, change_stain
from wsi_idc.training.augmentation.formation import Formation
from wsi_idc.training.config import ContextConfig, TrainConfig


@dataclass(frozen=True, slots=True)
class SectionFeatures:
    """The patches of many patients by place, and their features.

    `grids` has for each patient (rows, cols) row numbers into `labels` (n,) and into each of `variants`, (n, f)
    float16, MISSING where there is no patch. Variant 0 is the patches as they are; variant v has them changed by
    symmetry v % 8, and by a stain change and a formation of the patient.
    """

    grids: dict[str, np.ndarray]
    labels: np.ndarray
    variants: list[np.ndarray]

    def rows(self, patient: str) -> np.ndarray:
        """Return the row numbers (k,) of a patient's patches."""
        grid = self.grids[patient]
        return grid[grid != MISSING]

    def slide(self, rows: np.ndarray, variant: int) -> np.ndarray:
        """Return what a context network takes for the slide that these patches are all of: (f + 1,) float32."""
        return slide_sums(self.variants[variant][rows]).astype(np.float32)


def encode_sections(
    encoder: keras.Model,
    data: PatchArray,
    config: TrainConfig,
    cache: Path,
    on_view: Callable[[int], None] | None = None,
) -> SectionFeatures:
    """Encode patches as they are, and in `config.context.variants` - 1 other views of their sections.

    A view changes all patches of a patient alike, as a slide is stained, scanned and compressed as a whole. Each is
    kept as a file in `cache`, and not computed again where it is there.
    """
    names = np.unique(data.patients)
    owner = np.searchsorted(names, data.patients)
    encoded = []
    for variant in range(config.context.variants):
        file = cache / f"view-{variant}.npy"
        if not file.exists():
            rng = np.random.default_rng([config.context.seed, variant])
            change = StainChange.draw(len(names), rng, config.augment.stain_scale, config.augment.stain_shift)
            formations = [Formation.draw(config.formation, data.size, rng) for _ in names]
            parts = []
            for start in range(0, len(data), 256):
                rows = slice(start, start + 256)
                view = symmetry(np.asarray(data.pixels[rows]), variant % 8, axes=(1, 2))
                if variant:
                    view = change_stain(view, change.take(owner[rows]))
                    pairs = zip(view, owner[rows], strict=True)
                    view = np.stack([formations[who].apply(patch, rng) for patch, who in pairs])
                found = encoder.predict_on_batch(np.ascontiguousarray(view))
                parts.append(keras.ops.convert_to_numpy(found).astype(np.float16))
            with replacing(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, np.concatenate(parts))
        encoded.append(np.load(file))
        if on_view:
            on_view(variant + 1)
    return SectionFeatures(place_patches(data.patches, data.size), data.labels, encoded)


class SectionWindows(keras.utils.PyDataset):
    """Random windows of sections, each in a random view.

    In every other one neighbours are missing at random; in every other one the slide is known by some patches only; in
    a share `config.sparse` IDC patches are not there.
    """

    def __init__(self, features: SectionFeatures, config: ContextConfig) -> None:
        """Draw from `features`; a batch depends on the seed and its number only."""
        super().__init__(workers=1, use_multiprocessing=False)
        self._features, self._config = features, config
        self._patients = sorted(features.grids)
        # By the root of its patches, a section counts more than a few lone patches, and not as much as all of them.
        weights = np.sqrt([(features.grids[p] != MISSING).sum() for p in self._patients])
        self._weights = weights / weights.sum()
        self._whole: dict[tuple[str, int], np.ndarray] = {}

    def __len__(self) -> int:
        """Return the number of batches."""
        return self._config.steps

    def __getitem__(self, index: int) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
        """Return a batch: (features, present, slide), labels, and weights that are 0 where there is no patch."""
        rng = np.random.default_rng([self._config.seed, index])
        drawn = rng.choice(self._patients, self._config.batch_size, p=self._weights)
        features, numbers, slides = zip(*(self._window(p, rng) for p in drawn), strict=True)
        places = np.stack(numbers)
        present = (places != MISSING).astype(np.float32)
        labels = np.where(places == MISSING, 0, self._features.labels[places]).astype(np.float32)
        return (np.stack(features), present[..., None], np.stack(slides)), labels[..., None], present

    def _window(self, patient: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        side = self._config.side
        variant = int(rng.integers(len(self._features.variants)))
        numbers = symmetry(self._features.grids[patient], variant % 8)
        thinned = bool(rng.random() < self._config.sparse)
        if thinned:
            numbers = self._without_idc(numbers, rng)
        grid = np.pad(numbers, side, constant_values=MISSING)
        middle = rng.choice(np.argwhere(grid != MISSING))
        top, left = middle - rng.integers(0, side, 2)
        window = grid[top : top + side, left : left + side].copy()
        if rng.random() < 0.5:
            window[rng.random(window.shape) < rng.random()] = MISSING
        values = self._features.variants[variant][window].astype(np.float32)
        slide = self._slide(None if thinned else patient, numbers[numbers != MISSING], variant, rng)
        return values * (window != MISSING)[..., None], window, slide

    def _without_idc(self, numbers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Take IDC patches out, all of them every other time; where nothing else is there, none."""
        idc = (numbers != MISSING) & (self._features.labels[numbers] == 1)
        share = 1.0 if rng.random() < 0.5 else rng.random()
        left = np.where(idc & (rng.random(numbers.shape) < share), MISSING, numbers)
        return left if (left != MISSING).any() else numbers

    def _slide(self, patient: str | None, rows: np.ndarray, variant: int, rng: np.random.Generator) -> np.ndarray:
        """Sum up the slide that `rows` are the patches of; kept where it is that of a whole `patient`."""
        if rng.random() < 0.5:
            # As many of one as of thousands: their mean is uncertain, and need not have the patient's share of IDC.
            count = int(np.exp(rng.uniform(0, np.log(len(rows) + 1))))
            return self._features.slide(rng.choice(rows, count, replace=False), variant)
        if patient is None:
            return self._features.slide(rows, variant)
        if (patient, variant) not in self._whole:
            self._whole[patient, variant] = self._features.slide(rows, variant)
        return self._whole[patient, variant]


def fit_context(model: keras.Model, features: SectionFeatures, config: ContextConfig) -> keras.Model:
    """Fit `model` (features, present, slide -> logits) on random windows; its weights end as their moving average."""
    if not config.steps:
        return model
    keras.utils.set_random_seed(config.seed)
    warmup = config.steps // 10
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate / 20, config.steps - warmup, warmup_target=config.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, use_ema=True, ema_momentum=0.99)
    loss = keras.losses.BinaryCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    model.compile(optimizer, loss)
    model.fit(SectionWindows(features, config), epochs=1, shuffle=False, verbose=0)
    return model


def fit_new_context(features: SectionFeatures, config: ContextConfig) -> keras.Model:
    """Build and fit a context network, or as many as `config.members`, joined into their mean."""
    members = []
    typical = features.variants[0].mean(axis=0, dtype=np.float32)
    for number in range(config.members):
        own = config.model_copy(update={"seed": config.seed + number})
        keras.utils.set_random_seed(own.seed)
        network = context_network(len(typical), own.width, own.dilations, own.dropout, typical)
        members.append(fit_context(network, features, own))
    return members[0] if len(members) == 1 else context_mean(members)


def lone_logits(model: keras.Model, features: SectionFeatures) -> np.ndarray:
    """Return the logit (n,) of every patch as though it had no neighbours; its slide is known."""
    out = np.full(len(features.labels), np.nan, np.float32)
    for patient in features.grids:
        rows = features.rows(patient)
        values = features.variants[0][rows].astype(np.float32)[:, None, None]
        slides = np.repeat(features.slide(rows, 0)[None], len(rows), axis=0)
        logits = model([values, np.ones((len(rows), 1, 1, 1), np.float32), slides], training=False)
        out[rows] = keras.ops.convert_to_numpy(logits)[:, 0, 0, 0]
    return out


def context_logits(model: keras.Model, features: SectionFeatures, variant: int = 0) -> np.ndarray:
    """Return the logit (n,) of every patch in its section, as it is, or in another view of it."""
    out = np.full(len(features.labels), np.nan, np.float32)
    for patient, placed in features.grids.items():
        grid = symmetry(placed, variant % 8)
        present = grid != MISSING
        values = features.variants[variant][grid].astype(np.float32) * present[..., None]
        slide = features.slide(features.rows(patient), variant)
        # Called, not predicted: every section has a form of its own, for which it would be compiled.
        logits = model([values[None], present[None, ..., None].astype(np.float32), slide[None]], training=False)
        out[grid[present]] = keras.ops.convert_to_numpy(logits)[0, ..., 0][present]
    return out
