"""Which colour stands for what, in every picture, page and file: one colour for one thing."""

from __future__ import annotations

import numpy as np

Colour = tuple[int, int, int]

# What is outlined as IDC, as QuPath's own "Tumor".
IDC: Colour = (200, 0, 0)
# Squares chosen for grading, and the border of IDC that they may lie on.
FIELD: Colour = (0, 90, 200)
INVASIVE_EDGE: Colour = (255, 150, 0)
# A mitosis that an observer marked: green, told from red and blue outlines and from what is stained.
MITOSIS: Colour = (0, 150, 60)
TISSUE: Colour = (60, 60, 60)
NOT_COMPUTED: Colour = (20, 20, 20)
# Two sides of a comparison. Paul Tol's "high contrast": told apart by the colour-blind, and in grey.
BOTH, ONLY_FOUND, ONLY_TRUTH = (0, 68, 136), (221, 170, 51), (187, 85, 102)
# What of a patch speaks against IDC, beside `IDC` for what speaks for it: the colour-blind tell blue from red.
AGAINST_IDC: Colour = (33, 102, 172)
# Probabilities, from the lowest that is IDC up to 1: the upper half of "viridis", told apart by the colour-blind, and
# neither pink nor purple, as tissue is.
_HEAT = ((33, 145, 140), (53, 183, 121), (143, 215, 68), (253, 231, 37))
# Probabilities along which lines are drawn, where they are above the lowest that is IDC.
_LINES = (0.3, 0.5, 0.7, 0.9)


def heat_colours(probabilities: np.ndarray, lowest: float) -> np.ndarray:
    """Return the colour of each probability, RGB uint8, as a new last axis; the scale begins at `lowest`."""
    steps = np.linspace(lowest, 1, len(_HEAT))
    channels = [np.interp(probabilities, steps, one) for one in zip(*_HEAT, strict=True)]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)


def heat_lines(lowest: float) -> tuple[float, ...]:
    """Return the probabilities along which lines are drawn, `lowest` first."""
    return lowest, *(p for p in _LINES if p > lowest + 0.1)
