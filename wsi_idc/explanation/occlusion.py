"""Where a logit comes from, by covering parts of a patch one after the other; works on any engine.

Zeiler MD, Fergus R. Visualizing and understanding convolutional networks. ECCV 2014.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Side of what covers a patch, and how far it is moved, in pixels: of a model at 4 um/px 32 um, a few nuclei, less than
# which hardly moves the logit.
WINDOW, STRIDE = 8, 2


def occlusion_map(look: Callable[[np.ndarray], np.ndarray], patch: np.ndarray) -> np.ndarray:
    """Return by how much the logit of a patch (s, s, 3) uint8 falls where a part of it is covered: (s, s) float32.

    `look` gives the logits (n,) of patches (n, s, s, 3) uint8. What covers is a square of the mean colour of the patch,
    so that no edge of white or black is looked at in its place. A pixel has the mean over all squares on it: above 0 it
    speaks for IDC, below 0 against it.
    """
    side = len(patch)
    mean = np.rint(patch.mean((0, 1))).astype(np.uint8)
    # To the last pixel of each side.
    starts = sorted({*range(0, max(1, side - WINDOW), STRIDE), max(0, side - WINDOW)})
    places = [np.s_[top : top + WINDOW, left : left + WINDOW] for top in starts for left in starts]
    covered = np.repeat(patch[None], len(places) + 1, axis=0)
    for one, place in zip(covered[1:], places, strict=True):
        one[place] = mean
    own, *found = look(covered).astype(float)
    total, count = np.zeros((side, side)), np.zeros((side, side))
    for value, place in zip(found, places, strict=True):
        total[place] += own - value
        count[place] += 1
    return (total / count).astype(np.float32)
