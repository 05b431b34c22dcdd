"""Decoded patches: as an array in a file that the system pages in and out, or in memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from filelock import FileLock

from wsi_idc.base.files import replacing
from wsi_idc.data.content import file_digests
from wsi_idc.data.kaggle import LabelledPatch, decode_patches
from wsi_idc.errors import DataError


@dataclass(frozen=True)
class PatchArray:
    """Patches and their pixels (n, s, s, 3) uint8, row for row; `left_out` had another size."""

    pixels: np.ndarray
    patches: list[LabelledPatch]
    left_out: int

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.patches)

    @property
    def size(self) -> int:
        """Side of the patches in pixels."""
        return self.pixels.shape[1]

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels (n,) uint8."""
        return np.array([p.label for p in self.patches], np.uint8)

    @cached_property
    def patients(self) -> np.ndarray:
        """Patient ids (n,) str."""
        return np.array([p.patient for p in self.patches])


def open_patches(
    patches: Sequence[LabelledPatch],
    size: int = 50,
    cache: Path | None = None,
    digests: Sequence[bytes] | None = None,
) -> PatchArray:
    """Decode `patches`, leaving out those that are not `size` pixels square.

    With `cache`, a folder, the pixels lie in a file there and only what is used is in memory; the next call with files
    of the same content, wherever they lie, reads it again without decoding anything. `digests` are those of
    `data.content.file_digests`, where they are known. Raises DataError where a file is damaged or nothing is left.
    """
    if cache is None:
        pixels = np.empty((len(patches), size, size, 3), np.uint8)
        kept: list[int] = []
        for number, decoded in decode_patches(patches, size):
            pixels[len(kept)] = decoded
            kept.append(number)
    else:
        file = cache / f"patches-{_fingerprint(digests or file_digests(patches), size)}.npy"
        listing = file.with_suffix(".kept.npy")
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            # The listing is written after the pixels: where it is, they are whole.
            if not (listing.exists() and file.exists()):
                _fill(file, listing, patches, size)
        kept = np.load(listing).tolist()
        pixels = np.load(file, mmap_mode="r")
    if not kept:
        raise DataError(f"none of {len(patches)} patches is {size}x{size} pixels")
    return PatchArray(pixels[: len(kept)], [patches[i] for i in kept], len(patches) - len(kept))


def _fill(file: Path, listing: Path, patches: Sequence[LabelledPatch], size: int) -> None:
    """Write an array with a row for each patch, the first ones filled, and the numbers of the patches in these."""
    for left in file.parent.glob(f".*-{file.name}"):
        left.unlink()  # Of a process that was killed, or we would not have the lock.
    shape = (len(patches), size, size, 3)
    kept = []
    # Written in order, not through a map of the file, where a full disk would kill the process.
    with replacing(file) as temporary, temporary.open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        start = stream.tell()
        for number, decoded in decode_patches(patches, size):
            stream.write(decoded.tobytes())
            kept.append(number)
        stream.truncate(start + math.prod(shape))
    with replacing(listing) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.array(kept, np.int64))


def _fingerprint(digests: Sequence[bytes], size: int) -> str:
    """Identify the pixels by the content of the files, in order."""
    return hashlib.sha256(f"{size} ".encode() + b"".join(digests)).hexdigest()[:16]
