"""Patches in Kaggle's layout, for audits of them."""

import numpy as np
from PIL import Image


def noise(seed, height=50, width=50):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def put(root, patient, column, row, label, pixels=None, *, folder=None):
    """Write the patch at a place of the grid into Kaggle's layout, or into another `folder`; return its path."""
    x, y = 50 * column + 1, 50 * row + 1
    path = root / (folder or f"{patient}/{label}") / f"{patient}_idx5_x{x}_y{y}_class{label}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    unlike_others = noise([int(patient), column, row, label])
    Image.fromarray(unlike_others if pixels is None else pixels).save(path)
    return path
