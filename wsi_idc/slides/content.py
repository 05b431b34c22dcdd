"""What identifies a slide, whatever its name: the content of its files; and whether they are as they were."""

from __future__ import annotations

import hashlib
from pathlib import Path

from wsi_idc.base.files import State, state_of
from wsi_idc.slides.ngff.store import files_of_store, is_store

# How files end that are for the extra fastslide to read, which is not loaded to tell.
FASTSLIDE = frozenset({".vsi", ".isyntax"})
# A fingerprint reads this much of a file, in samples of this size.
_WHOLE, _SAMPLE = 1 << 24, 1 << 15


def companion(path: Path) -> Path:
    """Return the folder that holds the pixels of a VSI file."""
    return path.with_name(f"_{path.stem}_")


def files_of(path: Path) -> list[Path]:
    """Return the files that make up a slide: one, or a file and those of a folder beside it (MRXS, VSI).

    Of a folder these are the DICOM files in it, or all of an OME-Zarr store but labels.
    """
    if path.is_dir() and is_store(path):
        return files_of_store(path)
    # An MRXS slide is a file and a folder of the same name.
    folder = path if path.is_dir() else path.with_suffix("")
    files = [] if path.is_dir() else [path]
    if path.is_dir() or (path.suffix.lower() == ".mrxs" and folder.is_dir()):
        files += sorted(f for f in folder.iterdir() if f.is_file())
    if path.suffix.lower() == ".vsi":
        files += sorted(f for f in companion(path).rglob("*") if f.is_file())
    return files


def state_of_slide(path: Path) -> State:
    """Return the sizes and times of the files of a slide; raises OSError where one cannot be looked at."""
    return state_of(*files_of(path))


def fingerprint_of(path: Path, begin: str) -> str:
    """Identify a slide by its content: sha256 over `begin` and its files, of large ones over evenly spread parts.

    Files up to 16 MiB are read whole; of larger ones, which would take longer to read than to segment, 512 parts of
    32 KiB: whatever writes a slide anew changes its size, or its coded pixels everywhere. Of the files of an OME-Zarr
    store names and sizes all count, and of a large store what is in some 512 of them.
    """
    digest = hashlib.sha256(begin.encode())
    files = files_of(path)
    if path.is_dir() and is_store(path):
        return _of_store(digest, path, files)
    for file in files:
        size = file.stat().st_size
        digest.update(str(size).encode())
        step = _SAMPLE if size <= _WHOLE else (size - _SAMPLE) // (_WHOLE // _SAMPLE - 1)
        with file.open("rb") as stream:
            for position in range(0, size, step):
                stream.seek(position)
                digest.update(stream.read(_SAMPLE))
    return digest.hexdigest()


def _of_store(digest: hashlib._Hash, folder: Path, files: list[Path]) -> str:
    """Identify a store by the names and sizes of its many small files, and what is in them as in one large file."""
    sizes = [file.stat().st_size for file in files]
    for file, size in zip(files, sizes, strict=True):
        digest.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode())
    whole = sum(sizes) <= _WHOLE
    step = 1 if whole else max(1, len(files) // (_WHOLE // _SAMPLE))
    # What describes the image is read whole; it has no number for a name.
    for file in (f for i, f in enumerate(files) if i % step == 0 or not f.name[-1].isdigit()):
        with file.open("rb") as stream:
            digest.update(stream.read(_WHOLE if whole or not file.name[-1].isdigit() else _SAMPLE))
    return digest.hexdigest()
