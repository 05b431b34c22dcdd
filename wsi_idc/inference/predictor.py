"""Pixels to probabilities by an engine, and the context that a model may look at."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from wsi_idc.inference.engines import Engine
from wsi_idc.models.package import ModelPackage


class Predictor:
    """A model package on an engine: patches in, calibrated probabilities out. Safe to call from several threads."""

    def __init__(self, package: ModelPackage, engine: Engine) -> None:
        """Bind a package to an engine that was made for it."""
        self.package, self.engine = package, engine
        # What computes is this pool alone, however many threads read: a device has one owner, a core one batch.
        self._pool = ThreadPoolExecutor(engine.lanes, "wsi-idc-engine")
        self.n_features = self.encode(np.zeros((1, package.patch_size, package.patch_size, 3), np.uint8)).shape[1]

    def patches(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probability (n,) float32 of patches (n, s, s, 3) uint8, each alone: all that is of its slide."""
        alone = self.encode(pixels)[:, None, None] if len(pixels) else np.empty((0, 1, 1, self.n_features), np.float32)
        return np.array([self.probabilities(features)[0, 0] for features in alone], np.float32)

    def block(self, pixels: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Return the probabilities (r, c) float32 of a block that is a whole image, NaN where no patch is present.

        `pixels` is (r * s, c * s, 3) uint8, `present` (r, c) bool.
        """
        return self.probabilities(self.features(pixels, present))

    def features(self, pixels: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Encode the patches of a block, each for itself: (r, c, n_features) float32, NaN where none is present.

        NaN too where the encoder gives no number: that patch is absent for its neighbours.
        """
        return self.features_of([(pixels, present)])[0]

    def features_of(self, blocks: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """Encode the patches of blocks, given as to `features`, in batches that are filled across blocks."""
        size, tiles = self.package.patch_size, []
        for pixels, present in blocks:
            rows, cols = present.shape
            tiles.append(pixels.reshape(rows, size, cols, size, 3).transpose(0, 2, 1, 3, 4)[present])
        found = [np.full((*present.shape, self.n_features), np.nan, np.float32) for _, present in blocks]
        if sum(map(len, tiles)):
            parts = np.split(self.encode(np.concatenate(tiles)), np.cumsum([len(t) for t in tiles])[:-1])
            for into, (_, present), part in zip(found, blocks, parts, strict=True):
                into[present] = part
        return found

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Turn the features of a block that is a whole image into probabilities (r, c) float32."""
        return self.calibrated(self.logits(features))

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits into probabilities, float32."""
        return sigmoid(logits / np.float32(self.package.temperature))

    def logits(self, features: np.ndarray, slide: np.ndarray | None = None) -> np.ndarray:
        """Turn the features of a block into logits (r, c) float32, not yet divided by the temperature.

        They depend on `halo` patches around each, and on the `slide_sums` of all features of the slide; without these
        the block is taken for all that there is of it.
        """
        present = np.isfinite(features[..., 0])
        logits = features[..., 0]
        if self.package.halo and present.any():
            sums = (slide_sums(features) if slide is None else slide)[None].astype(np.float32)
            inputs = np.where(present[..., None], features, 0)[None], present[None, ..., None].astype(np.float32)
            found = self._pool.submit(self.engine.run, "context", *inputs, sums).result()[0, ..., 0]
            logits = np.where(present & np.isfinite(found), found, np.nan)
        return logits

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Return the features (n, n_features) float32 of patches (n, s, s, 3) uint8, at least one.

        A patch of which one feature is no number (NaN, or infinite, as in an overflow) has none: all of them are NaN.
        """
        size = self.engine.batch_size
        batches = (np.ascontiguousarray(pixels[i : i + size]) for i in range(0, len(pixels), size))
        features = np.concatenate(list(self._pool.map(partial(self.engine.run, "encoder"), batches)))
        known = np.isfinite(features).all(axis=1)
        return features if known.all() else np.where(known[:, None], features, np.float32(np.nan))


def slide_sums(features: np.ndarray) -> np.ndarray:
    """Sum the features (..., n) of patches, NaN for none, and count them: (n + 1,) float64.

    Sums of the parts of a slide add up to those of the slide.
    """
    there = features[np.isfinite(features[..., 0])]
    return np.append(there.sum(axis=0, dtype=np.float64), len(there))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities, float32."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits))).astype(np.float32)
