"""What identifies a slide, whatever its name: the content of its files; and whether they are as they were."""

from __future__ import annotations

import hashlib
from pathlib import Path

from wsi_idc.base.files import State, state_of

# A fingerprint reads this much of a file, in samples of this size.
_WHOLE, _SAMPLE = 1 << 24, 1 << 15


def files_of(path: Path) -> list[Path]:
    """Return the files that make up a slide: one, those of a DICOM folder, or an MRXS file and those of its folder."""
    # An MRXS slide is a file and a folder of the same name.
    folder = path if path.is_dir() else path.with_suffix("")
    files = [] if path.is_dir() else [path]
    if path.is_dir() or (path.suffix.lower() == ".mrxs" and folder.is_dir()):
        files += sorted(f for f in folder.iterdir() if f.is_file())
    return files


def state_of_slide(path: Path) -> State:
    """Return the sizes and times of the files of a slide; raises OSError where one cannot be looked at."""
    return state_of(*files_of(path))


def fingerprint_of(path: Path, begin: str) -> str:
    """Identify a slide by its content: sha256 over `begin` and its files, of large ones over evenly spread parts.

    Files up to 16 MiB are read whole; of larger ones, which would take longer to read than to segment, 512 parts of
    32 KiB: whatever writes a slide anew changes its size, or its coded pixels everywhere.
    """
    digest = hashlib.sha256(begin.encode())
    for file in files_of(path):
        size = file.stat().st_size
        digest.update(str(size).encode())
        step = _SAMPLE if size <= _WHOLE else (size - _SAMPLE) // (_WHOLE // _SAMPLE - 1)
        with file.open("rb") as stream:
            for position in range(0, size, step):
                stream.seek(position)
                digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()
