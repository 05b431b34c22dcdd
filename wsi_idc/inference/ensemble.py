"""Several looks at the same patches, combined: models of an ensemble, and the eight symmetries of the square."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsi_idc.errors import ModelError
from wsi_idc.inference.predictor import Predictor, sigmoid
from wsi_idc.inference.symmetry import symmetry, turned_back


@dataclass(frozen=True, slots=True)
class Combined:
    """What several views found for a block: (r, c) float32 each, NaN where no patch is present.

    `probability` is the sigmoid of the mean, over all views, of the calibrated logits (logit / temperature of its
    model); `uncalibrated` the same of the logits as they are; `uncertainty` the standard deviation, over all views, of
    the calibrated probability.
    """

    probability: np.ndarray
    uncalibrated: np.ndarray
    uncertainty: np.ndarray


class Ensemble:
    """Models that look at the same patches, each as they are, or turned and flipped in all eight ways.

    One view is one model and one way. A whole block is turned, so that a model that sees neighbours sees them turned
    with their pixels; what it finds is turned back.
    """

    def __init__(self, members: Sequence[Predictor], *, tta: bool = False) -> None:
        """Combine `members`; with `tta` (test-time augmentation) each looks in eight ways.

        Raises ModelError where they see patches of different sizes or scales.
        """
        first = members[0].package
        for package in (m.package for m in members[1:]):
            if (package.mpp, package.patch_size) != (first.mpp, first.patch_size):
                raise ModelError(
                    f"{package.name} takes patches of {package.patch_size} px at {package.mpp:g} um/px, "
                    f"{first.name} of {first.patch_size} px at {first.mpp:g} um/px; models of one ensemble must agree"
                )
        self.packages = [m.package for m in members]
        self.patch_size = first.patch_size
        self._views = [(member, code) for member in members for code in (range(8) if tta else (0,))]
        self.n_views = len(self._views)

    @property
    def threshold(self) -> float:
        """Probability from which a patch is IDC: the mean of the members' thresholds, as logits, to six decimals.

        As logits because probabilities are averaged so: a patch on the threshold of every member is on this one.
        """
        own = np.array([p.threshold for p in self.packages])
        if (own == own[0]).all():
            return float(own[0])
        return round(float(1 / (1 + np.exp(-np.log(own / (1 - own)).mean()))), 6)

    def look(self, pixels: np.ndarray, present: np.ndarray) -> Combined:
        """Combine what all views find in a block of the grid.

        `pixels` is (r * s, c * s, 3) uint8, `present` (r, c) bool. Neighbours outside the block count as missing.
        """
        logits = np.stack(
            [
                turned_back(member.logits(member.features(symmetry(pixels, code), symmetry(present, code))), code)
                for member, code in self._views
            ]
        )
        temperature = np.array([member.package.temperature for member, _ in self._views], np.float32)
        calibrated = logits / temperature[:, None, None]
        return Combined(
            probability=sigmoid(calibrated.mean(axis=0)),
            uncalibrated=sigmoid(logits.mean(axis=0)),
            uncertainty=sigmoid(calibrated).std(axis=0),
        )
