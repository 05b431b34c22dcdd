"""What a new engine says of a few patches, before a slide is trusted to it."""

from __future__ import annotations

import numpy as np

from wsi_idc.errors import ModelError
from wsi_idc.inference.engines import Engine
from wsi_idc.models.package import ModelPackage

# Colours of eosin and of haematoxylin in light, RGB.
_EOSIN, _HAEMATOXYLIN = (231, 160, 199), (96, 66, 142)


def probe(engine: Engine, package: ModelPackage) -> None:
    """Run varied patches through a new engine, one by one.

    Raises ModelError where what comes out has not the form that it must have, or is no number: weights that were
    damaged, or that overflow in half precision or on a GPU, would else find no cancer anywhere.
    """
    for name, pixels in probes(package.patch_size).items():
        features = engine.run("encoder", pixels[None])
        if features.ndim != 2 or features.shape[0] != 1 or (package.halo == 0 and features.shape[1] != 1):
            wanted = "(n, features)" if package.halo else "(n, 1), one logit of IDC a patch"
            raise ModelError(f"{package.folder}: its encoder gives {features.shape} for one patch, not {wanted}")
        _finite(package, "encoder", features, name)
        if package.halo:
            one = np.ones((1, 1, 1, 1), np.float32)
            found = features.astype(np.float32)
            logits = engine.run("context", found[:, None, None, :], one, np.append(found, 1)[None].astype(np.float32))
            if logits.shape != one.shape:
                raise ModelError(
                    f"{package.folder}: its context network gives {logits.shape} for one patch, not (1, 1, 1, 1)"
                )
            _finite(package, "context network", logits, name)


def probes(side: int) -> dict[str, np.ndarray]:
    """Return patches (side, side, 3) uint8 such as slides have, and such as they should not have, by what they are."""
    rng = np.random.default_rng(0)
    nuclei = rng.random((side, side, 1)) < 0.3
    tissue = np.where(nuclei, _HAEMATOXYLIN, _EOSIN) + rng.normal(0, 12, (side, side, 3))
    ramp = np.linspace(0, 255, side)[:, None, None].repeat(side, 1).repeat(3, 2)
    found = {
        "a black patch": np.zeros((side, side, 3)),
        "a dark patch": 0.3 * tissue,
        "a patch like stained tissue": tissue,
        "a patch of noise": rng.integers(0, 256, (side, side, 3)),
        "a patch from black to white": ramp,
        "a white patch": np.full((side, side, 3), 255),
    }
    return {name: pixels.clip(0, 255).astype(np.uint8) for name, pixels in found.items()}


def _finite(package: ModelPackage, network: str, found: np.ndarray, patch: str) -> None:
    if not np.isfinite(found).all():
        raise ModelError(
            f"{package.folder}: its {network} gives no number (NaN or infinite) for {patch}: its weights are damaged, "
            "or overflow on this device; install the model again, or take another --engine"
        )
