"""Decoded tiles that are kept for what is read next: neighbours are read in turn, and by several threads."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np

# Bytes of decoded tiles that are kept for what is read next, of an image.
_KEPT = 1 << 25
# A tile of more bytes than this is decoded once, and kept on disk.
_LARGE = 1 << 24


class KeptTiles:
    """The tiles of one image that were decoded last. Safe to use from several threads."""

    def __init__(self) -> None:
        """Begin without any."""
        self._lock = threading.Lock()
        self._tiles: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, size: int, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the tile of a key, as it is kept or as `decode` makes it; `size` is that of its pixels in bytes."""
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
                return self._tiles[key]
        if size > _LARGE:
            # One thread decodes it; the others wait, for want of memory.
            with self._lock:
                if key not in self._tiles:
                    self._tiles[key] = _on_disk(decode())
                return self._tiles[key]
        tile = decode()
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = tile
                self._bytes += tile.nbytes
            while self._bytes > _KEPT and len(self._tiles) > 1:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes
        return tile


def _on_disk(tile: np.ndarray) -> np.ndarray:
    """Move a decoded tile to a file that has no name and goes with the array."""
    with tempfile.TemporaryFile() as file:
        kept = np.memmap(file, tile.dtype, "w+", shape=tile.shape)
    kept[:] = tile
    return kept
