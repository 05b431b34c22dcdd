"""The files of a Zarr store, of which no more is read at once than a chunk can take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr.storage
from zarr.abc.store import RangeByteRequest

from wsi_idc.base.inputs.bounded import check_regular


class ChunkFiles(zarr.storage.LocalStore):
    """A store in a folder that reads at most `most` bytes of a file at once, and only of regular ones.

    Zarr reads a file whole, whatever its size, and waits for a pipe.
    """

    def __init__(self, root: Path, most: int) -> None:
        """Take the folder of a store, whose files are only read."""
        super().__init__(root, read_only=True)
        self.most = most

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Read a file or a range of it; None where there is none. Raises ValueError where that is too much."""
        path = Path(self.root) / key
        try:
            asked = check_regular(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        if isinstance(byte_range, RangeByteRequest):
            asked = min(asked, byte_range.end) - byte_range.start
        elif byte_range is not None:
            # From a place on, or so many bytes of the end.
            asked = min(asked, getattr(byte_range, "suffix", asked)) - getattr(byte_range, "offset", 0)
        if asked > self.most:
            raise ValueError(f"a chunk of {asked:,} bytes, more than the {self.most:,} that one of its shape takes")
        return await super().get(key, prototype, byte_range)
