"""Find the slides that files, folders and patterns name, and name their output folders."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from wsi_idc.errors import DataError

# What OpenSlide and tifffile read.
SUFFIXES = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi", ".dcm"}
)
# Series Instance UID (0020,000E) in explicit little endian, which every DICOM file that OpenSlide reads is written in.
_SERIES = re.compile(rb"\x20\x00\x0e\x00UI(..)([0-9.]+)", re.DOTALL)
_DICOM_HEAD = 1 << 20


def find_slides(inputs: Iterable[str | Path]) -> list[Path]:
    """List the slides that files, folders and glob patterns name, each once, in order of the inputs and of name.

    A folder gives the slide files in it by suffix, hidden ones left out, and its subfolders of DICOM files. The files
    of one DICOM series are one slide. Files given by name are taken as slides whatever their suffix. Raises DataError
    for an input without any.
    """
    found: dict[str, Path] = {}
    for given in inputs:
        text = str(given)
        if glob.has_magic(text) and not Path(text).exists():
            # Not Path.glob: a pattern may be absolute.
            matches = [Path(p) for p in sorted(glob.glob(text))]  # noqa: PTH207
            slides = [s for p in matches for s in (_in_folder(p) if p.is_dir() else [p] if _is_slide_file(p) else [])]
        else:
            slides = _in_folder(Path(text)) if Path(text).is_dir() else [Path(text)]
        if not slides:
            raise DataError(f"{text}: no slides there; slides end in {' '.join(sorted(SUFFIXES))}")
        for slide in slides:
            found.setdefault(os.path.realpath(slide), slide)
    return list(found.values())


def _is_slide_file(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _in_folder(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if _is_slide_file(p))
    if any(p.suffix.lower() == ".dcm" for p in files):
        series = dicom_series(folder)
        others = [p for p in files if p.suffix.lower() != ".dcm"]
        # A folder that is one DICOM slide goes by the folder's name; else each series by that of its first file.
        return [folder] if len(series) == 1 and not others else sorted([*others, *(s[0] for s in series)])
    below = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and dicom_series(p)]
    return sorted([*files, *(s for p in below for s in _in_folder(p))])


def dicom_series(folder: Path) -> list[list[Path]]:
    """Group the DICOM files of a folder by series, in order of name; a file without a series stands alone."""
    groups: dict[bytes, list[Path]] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() == ".dcm" and _is_slide_file(p)):
        with path.open("rb") as stream:
            match = _SERIES.search(stream.read(_DICOM_HEAD))
        groups.setdefault(match[2] if match else os.fsencode(path), []).append(path)
    return list(groups.values())


def output_names(slides: Sequence[Path]) -> list[str]:
    """Name the output folder of each slide: its stem; where two share it, the stem and a hash of the path."""
    stems = [given_name(s) if s.is_dir() else s.stem for s in slides]
    taken = [*stems, "manifest.csv"]
    return [
        stem if taken.count(stem) == 1 else f"{stem}-{hashlib.sha256(os.fsencode(s.resolve())).hexdigest()[:8]}"
        for s, stem in zip(slides, stems, strict=True)
    ]


def given_name(path: Path) -> str:
    """Return the name of a file or folder as given, that of the folder itself for "." and the like."""
    # Not resolve: a link goes by its own name.
    return Path(os.path.abspath(path)).name  # noqa: PTH100
