"""The eight symmetries of the square, which leave what a patch shows as it is."""

from __future__ import annotations

import numpy as np


def symmetry(array: np.ndarray, code: int, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
    """Apply symmetry `code` (0 to 7) of the square in the plane of `axes`: quarter turns, then for 4 to 7 a flip."""
    turned = np.rot90(array, code % 4, axes=axes)
    return np.flip(turned, axes[1]) if code >= 4 else turned


def turned_back(array: np.ndarray, code: int) -> np.ndarray:
    """Undo `symmetry`: a quarter turn by the turn that completes the circle, a reflection by itself."""
    return symmetry(array, code if code >= 4 else -code % 4)
