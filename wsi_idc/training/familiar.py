"""Keep with a model what the slides were like that it was trained on, in every form in which it saw them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from wsi_idc.data.store import PatchArray
from wsi_idc.inference.familiar import LEAST_PATCHES, Familiar, sample, traits
from wsi_idc.training.augmentation.augment import StainChange, change_stain
from wsi_idc.training.augmentation.formation import Formation
from wsi_idc.training.config import TrainConfig

# How often each slide is formed anew to know what sharpness and colours training has seen.
_FORMS = 3


def familiar_slides(
    training: PatchArray, held_out: PatchArray, features: tuple[list[np.ndarray], list[np.ndarray]], config: TrainConfig
) -> dict[str, Any] | None:
    """Describe the slides of training: "pixels" and "features", each the document of a `Familiar`.

    `features` are those of both sets of patches, (n, f), in each view that was encoded. Limits are set on the slides of
    training and on those held out. None where fewer than three slides of training have patches enough to tell.
    """
    if len(_slides(training)) < 3:
        return None
    pixels = [np.array(list(_traits(data, config))) for data in (training, held_out)]
    means = []
    for data, views in zip((training, held_out), features, strict=True):
        means.append(np.array([view[rows].mean(axis=0, dtype=np.float64) for view in views for rows in _slides(data)]))
    return {
        name: Familiar.fit(own, others.reshape(-1, own.shape[1])).document()
        for name, (own, others) in (("pixels", pixels), ("features", means))
    }


def _slides(data: PatchArray) -> list[np.ndarray]:
    """Return the row numbers of each patient who has patches enough."""
    rows = [np.flatnonzero(data.patients == patient) for patient in np.unique(data.patients)]
    return [own for own in rows if len(own) >= LEAST_PATCHES]


def _traits(data: PatchArray, config: TrainConfig) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(config.fit.seed)
    for rows in _slides(data):
        pixels = np.asarray(data.pixels[sample(rows.tolist())])
        yield traits(pixels)
        for _ in range(_FORMS if config.formation.share else 0):
            change = StainChange.draw(1, rng, config.augment.stain_scale, config.augment.stain_shift)
            formation = Formation.draw(config.formation, data.size, rng)
            view = change_stain(pixels, change.take(np.zeros(len(pixels), int)))
            yield traits(np.stack([formation.apply(patch, rng) for patch in view]))
