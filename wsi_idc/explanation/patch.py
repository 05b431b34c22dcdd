"""What is known of one patch: its logit alone, what covering parts of it changes, and what layers make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wsi_idc.errors import DataError, ModelError
from wsi_idc.explanation.gradients import LayerMaps, Network
from wsi_idc.explanation.occlusion import occlusion_map
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.package import ModelPackage

# Logits of engines differ by less, in single precision by a thousandth; other networks differ by more.
_SAME_NETWORK = 0.5


@dataclass(frozen=True, slots=True)
class Subject:
    """A patch (s, s, 3) uint8 at the scale of the model, of the file `source`.

    `place` is where it lies on a slide in level-0 pixels: x, y, width, height; None where it is a picture by itself.
    `tissue` is the share of it that is tissue, as a run finds it; None where nobody looked.
    `closer` (h, w, 3) uint8 is the same place of the slide in more pixels, for the eye.
    """

    source: str
    pixels: np.ndarray
    place: tuple[float, float, float, float] | None = None
    tissue: float | None = None
    closer: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """A patch with its logit, not divided by the temperature, its probability, and what they come from.

    `occlusion` (s, s) float32 is by how much the logit falls where a part is covered.
    """

    subject: Subject
    logit: float
    probability: float
    occlusion: np.ndarray
    layers: list[LayerMaps]

    def facts(self, picture: str, threshold: float) -> dict[str, Any]:
        """Return the numbers, as explain.json has them; `picture` is the file that shows them."""
        place = self.subject.place
        named = zip(("x", "y", "width", "height"), place or (None,) * 4, strict=True)
        return {
            "source": self.subject.source,
            "picture": picture,
            **{name: value if value is None else round(value, 2) for name, value in named},
            "tissue": self.subject.tissue if self.subject.tissue is None else round(self.subject.tissue, 4),
            "probability": round(self.probability, 6),
            "logit": round(self.logit, 5),
            "idc": self.probability >= threshold,
            "occlusion": _rounded(self.occlusion),
            "layers": [
                {
                    "name": layer.name,
                    "shape": list(layer.maps.shape),
                    "grad_cam": _rounded(layer.cam),
                    "shares": _rounded(layer.shares),
                }
                for layer in self.layers
            ],
        }


def what_is_explained(package: ModelPackage) -> str:
    """Say in a sentence which number the maps are about."""
    if not package.halo:
        return "the logit of the patch, which is all that its probability in a heatmap comes from"
    return (
        "the logit of the patch alone, as if it were all of its slide; a heatmap has another one, "
        f"since {package.name} looks at the neighbours of a patch and at the mean of its slide too"
    )


def explain_patch(predictor: Predictor, network: Network | None, subject: Subject) -> Explained:
    """Explain the logit of one patch; without a network by occlusion only.

    Raises DataError where the model gives no number for the patch, or for what is left of it, ModelError where its
    Keras weights give another logit than those of the engine: they are of another network.
    """

    def look(pixels: np.ndarray) -> np.ndarray:
        features = predictor.encode(pixels)[:, None, None]
        return np.array([predictor.logits(one)[0, 0] for one in features], np.float32)

    logit = look(subject.pixels[None])
    occlusion = occlusion_map(look, subject.pixels)
    if not (np.isfinite(logit).all() and np.isfinite(occlusion).all()):
        raise DataError(f"{subject.source}: {predictor.package.name} gives no number for this patch, or parts of it")
    layers: list[LayerMaps] = []
    if network:
        other, layers = network.look(subject.pixels)
        if not abs(other - float(logit[0])) <= _SAME_NETWORK:
            package, own = predictor.package, float(logit[0])
            raise ModelError(
                f"{package.folder}: its Keras weights give {subject.source} the logit {other:.3g}, those that "
                f"{predictor.engine.name} computes with {own:.3g}: they are of two networks; package it again"
            )
    return Explained(subject, float(logit[0]), float(predictor.calibrated(logit)[0]), occlusion, layers)


def _rounded(values: np.ndarray) -> list[Any]:
    rounded: list[Any] = np.round(values.astype(float), 5).tolist()
    return rounded
