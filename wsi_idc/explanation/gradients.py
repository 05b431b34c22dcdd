"""What layers of a Keras network make of a patch: their feature maps, and Grad-CAM by the gradient of the logit.

Selvaraju RR et al. Grad-CAM: visual explanations from deep networks via gradient-based localization. ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsi_idc.base.extras import needs_extra
from wsi_idc.errors import ModelError, SettingsError
from wsi_idc.inference.engines import load_keras
from wsi_idc.models.package import ModelPackage

# Those of Keras whose gradients are taken here.
_BACKENDS = ("tensorflow", "torch")


@dataclass(frozen=True, slots=True)
class LayerMaps:
    """What a layer makes of a patch: `maps` (h, w, channels), Grad-CAM `cam` (h, w) >= 0, `shares` (channels,).

    All float32. A share is the gradient of the logit in a map times the map, summed: what the map adds to the logit, to
    first order.
    """

    name: str
    maps: np.ndarray
    cam: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, name: str, maps: np.ndarray, gradient: np.ndarray) -> LayerMaps:
        """Compute Grad-CAM and shares of maps (h, w, channels) from the gradient of the logit in them, as large."""
        cam = np.maximum(maps @ gradient.mean((0, 1)), 0)
        return cls(name, maps, cam, (gradient * maps).sum((0, 1)))


class Network:
    """The Keras networks of a package, to be looked into at some of the layers of its encoder."""

    def __init__(self, package: ModelPackage, layers: Sequence[str] = ()) -> None:
        """Load the networks; without `layers` the last block of each of the two smallest sizes of maps is taken.

        Raises MissingExtraError without Keras, ModelError where the package has no Keras weights, or where Keras
        computes with a backend whose gradients are not taken here, SettingsError for a layer that has no maps.
        """
        if "keras" not in package.formats():
            raise ModelError(f"{package.folder}: has no Keras weights, which Grad-CAM and feature maps are made of")
        with needs_extra("train"):
            networks = {name: load_keras(package, name) for name in package.networks}
            import keras
        self.backend = keras.backend.backend()
        if self.backend not in _BACKENDS:
            raise ModelError(
                f"Keras computes with {self.backend}, whose gradients are not taken here; for Grad-CAM and feature "
                f"maps set KERAS_BACKEND to {' or '.join(_BACKENDS)}"
            )
        self._encoder, self._context = networks["encoder"], networks.get("context")
        # Gradients are recorded from what can be trained on.
        self._encoder.trainable = True
        self.names = tuple(n for n, size in self._sizes().items() if size)
        for name in layers:
            if name not in self.names:
                known = ", ".join(self.names)
                raise SettingsError(f"{package.name} has no layer {name!r} with feature maps; it has {known}")
        self.layers = tuple(dict.fromkeys(layers)) or self._default()
        found = [self._encoder.get_layer(name).output for name in self.layers]
        self._part = keras.Model(self._encoder.inputs, [*found, self._encoder.output])

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        """Return the height and width of what each layer gives, none where that is no maps or the pixels themselves."""
        shapes: dict[str, Any] = {layer.name: getattr(layer.output, "shape", ()) for layer in self._encoder.layers}
        return {n: tuple(s[1:3]) if len(s) == 4 and s[-1] > 3 else () for n, s in shapes.items()}

    def _default(self) -> tuple[str, ...]:
        """Return where the last block of each of the two smallest sizes ends; without blocks the last layers there.

        What is inside a block, as what is not added up yet, says little of the logit by itself.
        """
        last, ends = {}, {}
        kinds = {layer.name: type(layer).__name__ for layer in self._encoder.layers}
        before = ""
        for name, size in self._sizes().items():
            last[size] = name
            if kinds[name] == "Add" or (before == "Add" and kinds[name] in ("Activation", "ReLU")):
                ends[size] = name
            before = kinds[name]
        del last[()]
        sizes = sorted(last, key=lambda size: -size[0] * size[1])[-2:]
        return tuple(ends.get(size, last[size]) for size in sizes)

    def look(self, patch: np.ndarray) -> tuple[float, list[LayerMaps]]:
        """Return the logit of a patch (s, s, 3) uint8 alone, and what the layers make of it."""
        take = self._with_tensorflow if self.backend == "tensorflow" else self._with_torch
        logit, maps, gradients = take(patch[None])
        looked = []
        for name, own, gradient in zip(self.layers, maps, gradients, strict=True):
            if gradient is None:
                raise SettingsError(f"the logit does not depend on the maps of {name!r} by a gradient; take another")
            looked.append(LayerMaps.of(name, own[0], gradient[0]))
        return logit, looked

    def _with_tensorflow(self, pixels: np.ndarray) -> tuple[float, list[np.ndarray], list[np.ndarray | None]]:
        """Return the logit, and of each layer the maps and the gradient of the logit in them, None for none."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            *maps, features = self._part([pixels], training=False)
            logit = self._logit(features)
        gradients = tape.gradient(logit, maps)
        known = [None if g is None else np.asarray(g, np.float32) for g in gradients]
        return float(logit), [np.asarray(m, np.float32) for m in maps], known

    def _with_torch(self, pixels: np.ndarray) -> tuple[float, list[np.ndarray], list[np.ndarray | None]]:
        """Return the same by torch."""
        import torch

        *maps, features = self._part([pixels], training=False)
        known = [m for m in maps if m.requires_grad]
        logit = self._logit(features)
        found = iter(torch.autograd.grad(logit, known, allow_unused=True))
        gradients = [next(found) if m.requires_grad else None for m in maps]
        numbers = [None if g is None else g.cpu().numpy() for g in gradients]
        return float(logit), [m.detach().cpu().numpy() for m in maps], numbers

    def _logit(self, features: Any) -> Any:
        """Return the logit of a patch that is all that is of its slide, as `Predictor.patches` has it."""
        if self._context is None:
            return features[0, 0]
        from keras import ops

        one = ops.ones((1, 1), features.dtype)
        given = {
            "features": features[:, None, None],
            "present": one[:, None, None],
            "slide": ops.concatenate([features, one], axis=1),
        }
        return self._context([given[v.name] for v in self._context.inputs], training=False)[0, 0, 0, 0]
