"""Files that are zip archives, such as .keras and .npz: how large they are unpacked, before anything unpacks them."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from wsi_idc.base.inputs.bounded import open_regular

_PIECE = 1 << 20
# Networks and checkpoints have some hundred.
_MOST_FILES = 10_000


def check_zip(path: Path, most: int) -> None:
    """Raise ValueError where a zip archive unpacks to more than `most` bytes, or to more than it says, or is none.

    Readers believe what it says, and make room for it.
    """
    with open_regular(path) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                files = archive.infolist()
            if len(files) > _MOST_FILES or sum(file.file_size for file in files) > most:
                raise ValueError(f"unpacks to more than {most >> 20} MiB")
            for file in files:
                _check_file(stream, file)
        except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, OverflowError) as error:
            raise ValueError(f"is no zip archive, or a damaged one ({error})") from error


def _check_file(stream: IO[bytes], file: zipfile.ZipInfo) -> None:
    """Raise ValueError where a file of an archive is not as large as it says."""
    if file.flag_bits & 1:
        raise ValueError("is encrypted")
    if file.compress_type == zipfile.ZIP_STORED:
        size = file.compress_size
    elif file.compress_type == zipfile.ZIP_DEFLATED:
        size = sum(_inflated(stream, file))
    else:
        raise ValueError("is packed in a way that no such file is")
    if size != file.file_size:
        raise ValueError(f"says that {file.filename[:80]!r} has {file.file_size:,} bytes, which it has not")


def _inflated(stream: IO[bytes], file: zipfile.ZipInfo) -> Iterator[int]:
    """Give the sizes of the pieces that a file unpacks to, until they are more than it says."""
    # The header in place may have names of other lengths than the directory has.
    stream.seek(file.header_offset)
    header = stream.read(30)
    stream.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), os.SEEK_CUR)
    unpacking, left, size = zlib.decompressobj(-zlib.MAX_WBITS), file.compress_size, 0
    while not unpacking.eof and size <= file.file_size:
        packed = unpacking.unconsumed_tail or stream.read(min(_PIECE, left))
        left -= 0 if unpacking.unconsumed_tail else len(packed)
        piece = len(unpacking.decompress(packed, _PIECE))
        if not piece and not packed:
            raise EOFError("cut short")
        size += piece
        yield piece
