"""Images over a whole slide in little memory: computed band by band in threads, their connected parts found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from wsi_idc.base.threads import in_parallel

# Rows that are computed at once.
BAND = 96


@dataclass(frozen=True, slots=True)
class Bands:
    """Computes images of so many rows band by band, in threads."""

    rows: int
    threads: int

    def each(self, work: Callable[[slice], None]) -> None:
        """Call with the rows of each band."""
        in_parallel(work, [slice(top, min(top + BAND, self.rows)) for top in range(0, self.rows, BAND)], self.threads)

    def over(self, mask: np.ndarray, work: Callable[[np.ndarray], np.ndarray], reach: int) -> np.ndarray:
        """Return what `work` makes of a mask, of which no pixel depends on any more than `reach` rows away."""
        out = np.zeros(mask.shape, bool)

        def one(rows: slice) -> None:
            top = max(0, rows.start - reach)
            out[rows] = work(mask[top : rows.stop + reach])[rows.start - top :][: rows.stop - rows.start]

        self.each(one)
        return out


# Of whole slides the arrays that skimage's versions of the next two make on the way are most of the memory of a run.


def hysteresis(level: np.ndarray) -> np.ndarray:
    """Return the connected parts of what is not 0 in which there is a 2."""
    labels = np.zeros(level.shape, np.int32)
    count = ndimage.label(level, output=labels)
    kept = np.zeros(count + 1, bool)
    for top in range(0, len(level), BAND):
        band = slice(top, top + BAND)
        kept[labels[band][level[band] == 2]] = True
    return _chosen(labels, kept)


def without_small(mask: np.ndarray, largest: int) -> np.ndarray:
    """Return a mask without its connected parts of at most `largest` pixels."""
    labels = np.zeros(mask.shape, np.int32)
    count = ndimage.label(mask, output=labels)
    sizes = np.zeros(count + 1, np.int64)
    for top in range(0, len(mask), BAND):
        sizes += np.bincount(labels[top : top + BAND].ravel(), minlength=count + 1)
    sizes[0] = 0
    return _chosen(labels, sizes > largest)


def _chosen(labels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return where labels are kept; band by band, since numpy turns indices into 64 bits."""
    out = np.zeros(labels.shape, bool)
    for top in range(0, len(labels), BAND):
        kept.take(labels[top : top + BAND], out=out[top : top + BAND], mode="clip")
    return out


def window_means(image: np.ndarray, side: int) -> np.ndarray:
    """Average windows of `side` pixels of an image (h, w); of those that its border cuts, what is there."""
    rows, cols = (np.arange(0, n, side) for n in image.shape)
    sums = np.add.reduceat(np.add.reduceat(image, rows, 0, np.float32), cols, 1)
    counts = np.outer(*(np.diff(np.append(at, n)) for at, n in zip((rows, cols), image.shape, strict=True)))
    return sums / counts
