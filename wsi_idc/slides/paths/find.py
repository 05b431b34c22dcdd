"""Find the slides that files, folders and patterns name, and name their output folders."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from wsi_idc.errors import DataError, SlideError
from wsi_idc.slides.content import FASTSLIDE
from wsi_idc.slides.dicom import group_by_series, is_dicom_slide
from wsi_idc.slides.ngff.store import holds_slide, is_store
from wsi_idc.slides.paths.address import SlideAddress, is_file, is_folder, is_there

# What OpenSlide and tifffile read, and fastslide.
SUFFIXES = frozenset(
    {".svs", ".tif", ".tiff", ".qptiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi"}
    | {".dcm", ".dicom"}
    | FASTSLIDE
)
_DICOM = (".dcm", ".dicom")
# Names without a suffix, or with one of digits, as that of a DICOM file named by its UID.
_WITHOUT_SUFFIX = re.compile(r"(\.\d+)?")
# Addresses such as https://host/slide.zarr, of which a path keeps one slash; a single letter is a drive of Windows.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
# Which files are slides, as `wsi-idc info FOLDER` says it.
RULE = (
    f"slides are files that end in {' '.join(sorted(SUFFIXES))}, in capitals or not (.vsi, .isyntax and some .czi need "
    "the extra fastslide), and those without a suffix that are DICOM slides by content, of which all of one series are "
    "one slide, and folders that are OME-Zarr images by content, which are not looked into; passed over are names that "
    "begin with a dot (._* of macOS too), pictures such as .png and .jpg, which wsi-idc predict takes, DICOM files of "
    "other kinds, DICOMDIR, the data folder of an MRXS slide, other Zarr (plates, labels, packed into one file), and "
    "results of this tool"
)


def find_slides(
    inputs: Iterable[str | Path], recursive: bool = False, on_left: Callable[[Path], None] | None = None
) -> list[Path]:
    """List the slides that files, folders and glob patterns name, each once, in order of the inputs and of name.

    A folder gives the slides in it, as `RULE` says; with `recursive`, those of all its subfolders too. Without, none is
    entered: one that holds a single DICOM slide and no other is that slide, and of others with slides in them `on_left`
    is told. A folder that cannot be looked into counts as a slide, which then fails by itself. Files and Zarr
    stores given by name are taken as slides whatever they are. Raises DataError for an input without any, and for a
    slide of which two inputs say another scale, or another name.

    >>> import wsi_idc
    >>> [path.name for path in wsi_idc.find_slides([".", "slide.*"])]
    ['slide.tif']
    """
    left: list[Path] = []
    in_folder = _in_tree if recursive else partial(_in_folder, left=left)
    found: dict[tuple[str, int | None], SlideAddress] = {}
    for given in inputs:
        address = SlideAddress.of(given)
        text = str(address.file)
        if glob.has_magic(text) and not is_there(Path(text)):
            # Not Path.glob: a pattern may be absolute.
            matches = [Path(p) for p in sorted(glob.glob(text))]  # noqa: PTH207
            slides = [s for p in matches for s in (_in_match(p, in_folder))]
        else:
            # A store given by name fails by itself where it is no slide, with the reason.
            looked_into = is_folder(Path(text)) and not is_store(Path(text))
            slides = in_folder(Path(text)) if looked_into else [Path(text)]
        if not slides:
            below = f", but in subfolders such as {left[0].name}, which --recursive takes" if left else ""
            raise DataError(f"{text}: no slides there{below}; wsi-idc info FOLDER says what counts as one")
        for slide in slides:
            one = replace(address, file=slide)
            before = found.setdefault((os.path.realpath(slide), one.series), one)
            # What a list says of a slide counts, wherever else it is named.
            mpp, name = one.mpp if before.mpp is None else before.mpp, before.name or one.name
            if one.mpp not in (None, mpp) or one.name not in (None, name):
                raise DataError(f"{before.path}: is named again, as {one.path}; keep one of the two")
            found[os.path.realpath(slide), one.series] = replace(before, mpp=mpp, name=name)
    if on_left:
        for folder in left:
            on_left(folder)
    return [address.path for address in found.values()]


def _in_match(path: Path, in_folder: Callable[[Path], list[Path]]) -> list[Path]:
    """Return the slides of what a pattern names."""
    if is_folder(path) and not is_store(path):
        return in_folder(path)
    return [path] if _is_slide(path) else []


def _is_slide(path: Path) -> bool:
    """Say whether what lies in a folder is a slide by itself: a file, or an OME-Zarr store."""
    return _is_slide_file(path) or (not path.name.startswith(".") and holds_slide(path))


def _is_slide_file(path: Path) -> bool:
    if path.name.startswith(".") or not _may_be_file(path):
        return False
    suffix = path.suffix.lower()
    return suffix in SUFFIXES - set(_DICOM) or _is_dicom_file(path)


def _is_dicom_file(path: Path) -> bool:
    """Say whether a file is an image of a DICOM slide by its name, or without a suffix by its content."""
    if path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not _may_be_file(path):
        return False
    if path.suffix.lower() in _DICOM:
        # One that cannot be read is named as failed, later.
        return is_dicom_slide(path) is not False
    return bool(_WITHOUT_SUFFIX.fullmatch(path.suffix)) and (_is_closed(path) or bool(is_dicom_slide(path)))


def _may_be_file(path: Path) -> bool:
    """Say whether what lies in a folder is a file, or cannot be told to be none: a slide by its name, it then fails."""
    try:
        path.stat()
    except OSError:
        # A link to a disk that is not there, or in a circle. What was taken away meanwhile is gone with its name.
        return os.path.lexists(path)
    return is_file(path)


def _is_closed(file: Path) -> bool:
    return is_file(file) and not os.access(file, os.R_OK)


def _in_folder(folder: Path, left: list[Path]) -> list[Path]:
    """List the slides in a folder, and add to `left` those of its subfolders that hold others."""
    slides = _directly_in(folder)
    if slides == [folder]:
        return slides
    for below in _looked_into(folder):
        own = _directly_in(below)
        if own == [below]:
            slides.append(below)
        elif own:
            left.append(below)
    return sorted(slides)


def _in_tree(folder: Path) -> list[Path]:
    return sorted(slide for place in _subfolders(folder) for slide in _directly_in(place))


def _subfolders(folder: Path) -> Iterator[Path]:
    """Give a folder and those below it that may hold slides, each once: links may lead in a circle."""
    seen: set[str] = set()
    # Not by calling itself: folders may lie in each other more often than calls may.
    left = [folder]
    while left:
        place = left.pop()
        if (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        yield place
        left += reversed(list(_looked_into(place)))


def _looked_into(folder: Path) -> Iterator[Path]:
    """Give the subfolders of a folder that may hold slides: not the hidden ones, those of MRXS slides, and results."""
    for below in _folders_in(folder):
        companion = any(is_there(below.with_name(below.name + end)) for end in (".mrxs", ".MRXS"))
        if not companion and not is_there(below / "heatmap.zarr"):
            yield below


def _folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder that are looked into: none of a store."""
    found = [p for p in _entries(folder) or () if is_folder(p) and not p.name.startswith(".")]
    return [p for p in found if not is_store(p)]


def _directly_in(folder: Path) -> list[Path]:
    entries = _entries(folder)
    if entries is None:
        return [folder]
    files = [p for p in entries if _is_slide(p)]
    if dicom := [p for p in files if _is_dicom_file(p)]:
        series = group_by_series(dicom)
        others = [p for p in files if p not in dicom]
        # A folder that is one DICOM slide goes by the folder's name; else each series by that of its first file.
        return [folder] if len(series) == 1 and not others else sorted([*others, *(s[0] for s in series)])
    return files


def _entries(folder: Path) -> list[Path] | None:
    """Return what lies in a folder, in order of name; None where it cannot be looked into."""
    try:
        # One that may be listed but not entered says nothing of what is in it.
        os.stat(os.path.join(folder, "."))  # noqa: PTH116, PTH118
        return sorted(folder.iterdir())
    except FileNotFoundError:
        # It was taken away meanwhile, with what was in it.
        return []
    except OSError:
        return None


def dicom_series(folder: Path) -> list[list[Path]]:
    """Group the DICOM files of a folder by series, in order of name; a file without a series stands alone."""
    return group_by_series(p for p in _entries(folder) or () if _is_dicom_file(p))


def file_to_open(path: Path, file: Path) -> Path:
    """Return what a reader opens of a slide: a file, an OME-Zarr store, or of a DICOM folder one of its files.

    OpenSlide finds the others of its series beside it. Raises SlideError, which calls the slide `path`, where there is
    nothing, or a folder that is no slide.
    """
    try:
        file.stat()
    except (OSError, ValueError) as error:
        raise SlideError(f"{path}: {_why_not(file, error)}") from error
    if not is_folder(file) or is_store(file):
        if not os.access(file, os.R_OK):
            raise SlideError(f"{path}: may not be read; ask for the right to read it")
        return file
    if not os.access(file, os.R_OK | os.X_OK):
        raise SlideError(f"{file}: the folder cannot be looked into; ask for the right to read it")
    series = dicom_series(file)
    if len(series) != 1:
        reason = "holds several DICOM series" if series else "a folder without DICOM files or OME-Zarr is not a slide"
        raise SlideError(f"{file}: {reason}; give the slide files in it")
    return series[0][0]


def missing(given: str) -> str | None:
    """Say why there is nothing at a path; None where there is something, or may be, or it is a pattern."""
    file = SlideAddress.of(given).file
    if glob.has_magic(str(file)):
        return None
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        return f"{given}: {_why_not(file, error)}"
    except OSError:
        pass
    return None


def _why_not(file: Path, error: OSError | ValueError) -> str:
    """Say why a file cannot be looked at."""
    if isinstance(error, ValueError) or error.errno in (errno.ENOENT, errno.ENOTDIR):
        if _URL.match(str(file)):
            return "is an address, not a file: copy the slide to this machine"
        return "a link to what is not there" if os.path.lexists(file) else "no such file"
    if isinstance(error, PermissionError):
        return "its folder cannot be looked into; ask for the right to read it"
    return f"cannot be read ({error.strerror})"


def known_as(slide: Path) -> Path:
    """Return the path by whose real path manifest.csv knows a slide: the scale that a list says is no part of it.

    So a slide whose scale was corrected is the same slide, with other settings, as one that is given another `--mpp`.
    """
    address = SlideAddress.of(slide)
    if address.path == address.file:
        return slide
    # A link that has an address behind it leads nowhere.
    return replace(address, file=Path(os.path.realpath(address.file)), mpp=None).path


def output_names(slides: Sequence[Path], held: Mapping[str, str] | None = None) -> list[str]:
    """Name the output folder of each slide: its stem; where two share it, the stem and a hash of the path.

    `held` has the names that slides were given before, by `known_as`, as manifest.csv keeps them: those slides keep
    them, and no other slide gets them, so that a slide finds its results again whatever else is run with it. Without
    (the manifest is gone) a slide may get another name than before, and is then computed again.
    """
    # A name that two slides were given is the first one's.
    given = reversed(list((held or {}).items()))
    held = {name: slide for slide, name in given if name and Path(name).name == name}
    kept = {slide: name for name, slide in held.items()}
    # One of dots alone, as that of "...svs", would lead to another folder.
    stems = [stem if (stem := SlideAddress.of(s).stem).strip(". ") else f"slide{stem}" for s in slides]
    taken = Counter([*stems, "manifest.csv", "log.jsonl", "index.html"])
    real = [os.path.realpath(known_as(s)) for s in slides]
    return [
        kept[path]
        if path in kept
        else stem
        if taken[stem] == 1 and stem not in held
        else f"{stem}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
        for path, stem in zip(real, stems, strict=True)
    ]
