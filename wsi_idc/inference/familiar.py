"""How far the patches of a slide are from those of the slides that a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from wsi_idc.base.optical_density import natural_density

# Each trait, and what a slide is that has less of it, or more, than the slides of training.
TRAITS = {
    "detail": ("softer", "sharper"),
    "fine detail": ("softer", "sharper"),
    "colour detail": ("blurred in its colours", "noisier in its colours"),
    "density": ("paler", "darker"),
    "contrast": ("flatter", "of more contrast"),
    "redness": ("less red", "redder"),
    "blueness": ("less blue", "bluer"),
}
# Of fewer patches little is known: a single one may be soft because it is fat.
LEAST_PATCHES = 20
MOST_PATCHES = 256


def traits(pixels: np.ndarray) -> np.ndarray:
    """Measure sharpness and colours of patches (n, s, s, 3) uint8 of one slide: one number for each of `TRAITS`.

    Detail is the energy of one octave against that of the octaves below it, as a natural logarithm; density is in
    natural optical density, redness and blueness are differences of channels in it.
    """
    density = natural_density(pixels)
    light = density.mean(axis=-1)
    tint = density[..., 0] - density[..., 1]
    spread = (0, 1, 1)
    octaves = [light, *(gaussian_filter(light, [s * sigma for s in spread]) for sigma in (0.7, 1.4, 2.8))]
    energy = [float(((a - b) ** 2).mean()) for a, b in pairwise(octaves)]
    coarse = gaussian_filter(tint, [s * 1.4 for s in spread])
    colour = [float(((tint - coarse) ** 2).mean()), float(coarse.var())]
    mean = density.mean(axis=(0, 1, 2))
    return np.array(
        [
            _log_ratio(energy[1], energy[2]),
            _log_ratio(energy[0], energy[1]),
            _log_ratio(*colour),
            light.mean(),
            light.std(),
            # Red light is held back by what looks blue.
            mean[1] - mean[0],
            mean[1] - mean[2],
        ]
    )


def _log_ratio(fine: float, coarse: float) -> float:
    return float(np.log((fine + 1e-7) / (coarse + 1e-7)))


@dataclass(frozen=True, slots=True)
class Familiar:
    """What the slides of training are like: of traits, and of the mean features of a slide.

    `centre` (k,) and `precision` (k, k) make a distance (Mahalanobis 1936) of each; `distances` are those of the slides
    of training, in order; from `limit` on a slide is unlike them.
    """

    centre: np.ndarray
    precision: np.ndarray
    distances: np.ndarray
    limit: float

    @classmethod
    def fit(cls, training: np.ndarray, held_out: np.ndarray, margin: float = 1.0) -> Familiar:
        """Describe slides (n, k); the limit lets at most 3 % of them and of those `held_out` (m, k) be unlike them."""
        centre = training.mean(axis=0)
        apart = training - centre
        covariance = apart.T @ apart / max(len(training) - 1, 1)
        # Drawn to its diagonal: there are hardly more slides than features.
        share = min(1.0, training.shape[1] / len(training))
        covariance = (1 - share) * covariance + share * np.diag(np.diag(covariance))
        precision = np.linalg.inv(covariance + 1e-6 * np.eye(len(centre)))
        own, others = (_distances(v, centre, precision) for v in (training, held_out))
        limits = [np.quantile(v, 0.97, method="higher") for v in (own, others) if len(v)]
        return cls(centre, precision, np.sort(own), float(margin * max(limits)))

    @classmethod
    def read(cls, held: Mapping[str, Any]) -> Familiar:
        """Take what `document` gave."""
        centre, precision, distances = (np.array(held[n], np.float64) for n in ("centre", "precision", "distances"))
        return cls(centre, precision, distances, held["limit"])

    def document(self) -> dict[str, Any]:
        """Give plain lists for JSON, of six digits."""
        held = {name: _rounded(getattr(self, name)) for name in ("centre", "precision", "distances")}
        return {**held, "limit": float(f"{self.limit:.6g}")}

    def distance(self, values: np.ndarray) -> float:
        """Return the distance of a slide (k,)."""
        return float(_distances(values[None], self.centre, self.precision)[0])

    def percentile(self, values: np.ndarray) -> float:
        """Return the percentage of the slides of training that are nearer than a slide (k,)."""
        return float(100 * np.searchsorted(self.distances, self.distance(values)) / len(self.distances))


def _distances(values: np.ndarray, centre: np.ndarray, precision: np.ndarray) -> np.ndarray:
    apart = values - centre
    return np.sqrt(np.einsum("ni,ij,nj->n", apart, precision, apart))


def _rounded(values: np.ndarray) -> Any:
    return [_rounded(v) for v in values] if values.ndim else float(f"{float(values):.6g}")


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How a slide compares with those of training: percentiles (0 to 100), and what to warn of."""

    pixels: float
    features: float
    warnings: tuple[str, ...]


def compare_slide(
    known: Mapping[str, Mapping[str, Any]], pixels: np.ndarray, features: np.ndarray
) -> Familiarity | None:
    """Compare a slide, of which patches (n, s, s, 3) uint8 and the mean of all features (f,) are known.

    `known` has a `Familiar` as a document for "pixels" and for "features". None where there are fewer patches than
    tell anything.
    """
    if len(pixels) < LEAST_PATCHES:
        return None
    of_pixels, of_features = (Familiar.read(known[name]) for name in ("pixels", "features"))
    seen = traits(pixels)
    warnings = []
    if of_pixels.distance(seen) > of_pixels.limit:
        warnings.append(f"{_words(of_pixels, seen)} than the slides that the model was trained on")
    if of_features.distance(features) > of_features.limit:
        warnings.append("unlike the slides that the model was trained on, by what the model sees of its tissue")
    found = [round(known.percentile(v), 1) for known, v in ((of_pixels, seen), (of_features, features))]
    return Familiarity(found[0], found[1], tuple(warnings))


def _words(known: Familiar, seen: np.ndarray) -> str:
    """Name the trait in which a slide is farthest from those of training."""
    deviation = (seen - known.centre) / np.sqrt(np.diag(np.linalg.inv(known.precision)))
    trait = int(np.argmax(np.abs(deviation)))
    return list(TRAITS.values())[trait][int(deviation[trait] > 0)]


def sample(places: Sequence[Any]) -> list[Any]:
    """Choose at most `MOST_PATCHES` of the places of patches, evenly over the slide."""
    step = max(1.0, len(places) / MOST_PATCHES)
    return [places[int(n * step)] for n in range(min(len(places), MOST_PATCHES))]
