"""The decoded patches that trainings keep in the user's cache: where they lie, what is there, and an end to it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock, Timeout


@dataclass(frozen=True, slots=True)
class CachedPatches:
    """A file of decoded patches: how many of them, their side in pixels, the bytes on disk and when it was written."""

    path: Path
    patches: int
    patch_size: int
    bytes: int
    written: str


def cache_folder() -> Path:
    """Return the folder in which `data.store.open_patches` keeps what trainings decode."""
    return Path(platformdirs.user_cache_dir("wsi-idc", appauthor=False))


def cached_patches(folder: Path | None = None) -> list[CachedPatches]:
    """List the files of decoded patches in a folder, that of the user unless given; not those being written."""
    found = []
    for path in sorted((folder or cache_folder()).glob("patches-*.npy")):
        if path.name.endswith(".kept.npy"):
            continue
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        try:
            patches, side = np.load(path, mmap_mode="r").shape[:2]
        except (OSError, ValueError):
            # Cut short: `remove_cached` takes it all the same.
            patches, side = 0, 0
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.st_mtime))
        found.append(CachedPatches(path, patches, side, status.st_size, written))
    return found


def remove_cached(folder: Path | None = None) -> tuple[list[Path], list[Path]]:
    """Remove the decoded patches in a folder, that of the user unless given, and what belongs to them.

    Returns the files that were removed, and those that were left since a training is decoding into them, or has them
    open on a system that removes no open files. A training that has them open elsewhere goes on undisturbed.
    """
    folder = folder or cache_folder()
    removed, left = [], []
    for path in [found.path for found in cached_patches(folder)] + _leavings(folder):
        lock = FileLock(folder / f"{path.name.removesuffix('.npy')}.lock")
        try:
            with lock.acquire(timeout=0):
                # The listing first: without it the pixels count as not there, and are decoded again.
                listing = path.with_suffix(".kept.npy")
                for part in (listing, path, *folder.glob(f".*-{path.name}"), *folder.glob(f".*-{listing.name}")):
                    part.unlink(missing_ok=True)
            removed.append(path)
        except (Timeout, PermissionError):
            left.append(path)
    return removed, left


def _leavings(folder: Path) -> list[Path]:
    """Name the files that were to become decoded patches when their process was killed, by what they would be."""
    names = {f"patches-{path.name.partition('-patches-')[2]}" for path in folder.glob(".*-patches-*.npy")}
    return sorted(folder / name for name in names if ".kept" not in name and not (folder / name).exists())
