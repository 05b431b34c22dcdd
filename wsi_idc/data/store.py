"""Decoded patches: as an array in a file that the system pages in and out, or in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from wsi_idc.data.kaggle import LabelledPatch, read_patch
from wsi_idc.errors import DataError
from wsi_idc.output import replacing

_CHUNK = 2048


@dataclass(frozen=True)
class PatchArray:
    """Patches and their pixels (n, s, s, 3) uint8, row for row; `left_out` had another size."""

    pixels: np.ndarray
    patches: list[LabelledPatch]
    left_out: int

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.patches)

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels (n,) uint8."""
        return np.array([p.label for p in self.patches], np.uint8)

    @cached_property
    def patients(self) -> np.ndarray:
        """Patient ids (n,) str."""
        return np.array([p.patient for p in self.patches])


def open_patches(patches: Sequence[LabelledPatch], size: int = 50, cache: Path | None = None) -> PatchArray:
    """Decode `patches`, leaving out those that are not `size` pixels square.

    With `cache`, a folder, the pixels lie in a file there and only what is used is in memory; the next call with the
    same files reads it again without decoding anything. Raises DataError where a file is damaged or nothing is left.
    """
    if cache is None:
        pixels = np.empty((len(patches), size, size, 3), np.uint8)
        kept = _decode(patches, pixels)
        pixels = pixels[: len(kept)]
    else:
        cache.mkdir(parents=True, exist_ok=True)
        file = cache / f"patches-{_fingerprint(patches, size)}.npy"
        listing = file.with_suffix(".kept.npy")
        # The listing is written after the pixels: where it is, they are whole.
        if listing.exists():
            kept = np.load(listing)
        else:
            with replacing(file) as temporary:
                whole = np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(patches), size, size, 3))
                kept = _decode(patches, whole)
                whole.flush()
            with replacing(listing) as temporary, temporary.open("wb") as stream:
                np.save(stream, kept)
        pixels = np.load(file, mmap_mode="r")[: len(kept)]
    if not len(kept):
        raise DataError(f"none of {len(patches)} patches is {size}x{size} pixels")
    return PatchArray(pixels, [patches[i] for i in kept], len(patches) - len(kept))


def _decode(patches: Sequence[LabelledPatch], out: np.ndarray) -> np.ndarray:
    """Decode into the first rows of `out`; return the numbers (k,) of the patches that these rows hold."""
    kept: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, len(patches), _CHUNK):
            chunk = patches[start : start + _CHUNK]
            for number, pixels in enumerate(pool.map(lambda p: read_patch(p.path), chunk), start):
                if pixels.shape == out.shape[1:]:
                    out[len(kept)] = pixels
                    kept.append(number)
    return np.array(kept, np.int64)


def _fingerprint(patches: Sequence[LabelledPatch], size: int) -> str:
    """Identify the files by name, length and time of change."""
    digest = hashlib.sha256(f"{size}".encode())
    for patch in patches:
        status = patch.path.stat()
        digest.update(f"{patch.path.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
