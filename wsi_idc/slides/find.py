"""Find the slides that files, folders and patterns name, and name their output folders."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from wsi_idc.errors import DataError

# What OpenSlide and tifffile read.
SUFFIXES = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi", ".dcm"}
)
# Series Instance UID (0020,000E) in explicit little endian, which every DICOM file that OpenSlide reads is written in.
_SERIES = re.compile(rb"\x20\x00\x0e\x00UI(..)([0-9.]+)", re.DOTALL)
_DICOM_HEAD = 1 << 20


def find_slides(inputs: Iterable[str | Path], recursive: bool = False) -> list[Path]:
    """List the slides that files, folders and glob patterns name, each once, in order of the inputs and of name.

    A folder gives the slide files in it by suffix, hidden ones left out, and its subfolders of DICOM files; with
    `recursive`, those of all its subfolders, but for hidden ones, those that belong to an MRXS file, and results of
    this tool. The files of one DICOM series are one slide. Files given by name are taken as slides whatever their
    suffix. Raises DataError for an input without any.
    """
    in_folder = _in_tree if recursive else _in_folder
    found: dict[str, Path] = {}
    for given in inputs:
        text = str(given)
        if glob.has_magic(text) and not Path(text).exists():
            # Not Path.glob: a pattern may be absolute.
            matches = [Path(p) for p in sorted(glob.glob(text))]  # noqa: PTH207
            slides = [s for p in matches for s in (in_folder(p) if p.is_dir() else [p] if _is_slide_file(p) else [])]
        else:
            slides = in_folder(Path(text)) if Path(text).is_dir() else [Path(text)]
        if not slides:
            raise DataError(f"{text}: no slides there; slides end in {' '.join(sorted(SUFFIXES))}")
        for slide in slides:
            found.setdefault(os.path.realpath(slide), slide)
    return list(found.values())


def _is_slide_file(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_list(path: Path) -> list[str]:
    """Read a file that names a slide, folder or pattern on each line; empty lines and those that begin with # are none.

    Relative paths are from the folder of the file. Raises DataError where it is missing, no text, or names nothing.
    """
    try:
        # Names of files need not be valid UTF-8; some editors begin a file with a byte order mark.
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: the list of slides cannot be read ({error.strerror})") from error
    if "\0" in text:
        raise DataError(f"{path}: not a list of slides; save it as plain text in UTF-8")
    lines = [line for raw in text.split("\n") if (line := raw.strip()) and not line.startswith("#")]
    if not lines:
        raise DataError(f"{path}: the list names no slides; write one path on each line")
    return [str(path.parent / line) for line in lines]


def _in_folder(folder: Path) -> list[Path]:
    if dicom_series(folder):
        return _directly_in(folder)
    below = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and dicom_series(p)]
    return sorted([*_directly_in(folder), *(s for p in below for s in _directly_in(p))])


def _in_tree(folder: Path) -> list[Path]:
    return sorted(slide for place in _subfolders(folder, set()) for slide in _directly_in(place))


def _subfolders(folder: Path, seen: set[str]) -> Iterator[Path]:
    """Give a folder and those below it that may hold slides, each once: links may lead in a circle."""
    if (real := os.path.realpath(folder)) in seen:
        return
    seen.add(real)
    yield folder
    for below in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        companion = any(below.with_name(below.name + end).exists() for end in (".mrxs", ".MRXS"))
        if not companion and not (below / "heatmap.zarr").exists():
            yield from _subfolders(below, seen)


def _directly_in(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if _is_slide_file(p))
    if any(p.suffix.lower() == ".dcm" for p in files):
        series = dicom_series(folder)
        others = [p for p in files if p.suffix.lower() != ".dcm"]
        # A folder that is one DICOM slide goes by the folder's name; else each series by that of its first file.
        return [folder] if len(series) == 1 and not others else sorted([*others, *(s[0] for s in series)])
    return files


def dicom_series(folder: Path) -> list[list[Path]]:
    """Group the DICOM files of a folder by series, in order of name; a file without a series stands alone."""
    groups: dict[bytes, list[Path]] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() == ".dcm" and _is_slide_file(p)):
        with path.open("rb") as stream:
            match = _SERIES.search(stream.read(_DICOM_HEAD))
        groups.setdefault(match[2] if match else os.fsencode(path), []).append(path)
    return list(groups.values())


def output_names(slides: Sequence[Path], held: Mapping[str, str] | None = None) -> list[str]:
    """Name the output folder of each slide: its stem; where two share it, the stem and a hash of the path.

    `held` has the names that slides were given before, by real path, as manifest.csv keeps them: those slides keep
    them, and no other slide gets them, so that a slide finds its results again whatever else is run with it. Without
    (the manifest is gone) a slide may get another name than before, and is then computed again.
    """
    # A name that two slides were given is the first one's.
    given = reversed(list((held or {}).items()))
    held = {name: slide for slide, name in given if name and Path(name).name == name}
    kept = {slide: name for name, slide in held.items()}
    stems = [given_name(s) if s.is_dir() else s.stem for s in slides]
    taken = Counter([*stems, "manifest.csv"])
    real = [os.path.realpath(s) for s in slides]
    return [
        kept[path]
        if path in kept
        else stem
        if taken[stem] == 1 and stem not in held
        else f"{stem}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
        for path, stem in zip(real, stems, strict=True)
    ]


def given_name(path: Path) -> str:
    """Return the name of a file or folder as given, that of the folder itself for "." and the like."""
    # Not resolve: a link goes by its own name.
    return Path(os.path.abspath(path)).name  # noqa: PTH100
