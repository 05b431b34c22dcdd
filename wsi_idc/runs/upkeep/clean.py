"""What runs left in an output folder that no run will want, found and removed; what is in use stays."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wsi_idc.base.disk.left import left_behind
from wsi_idc.base.disk.trouble import output_error
from wsi_idc.base.files import HOLDER
from wsi_idc.base.inputs.documents import read_json
from wsi_idc.errors import DataError, HeldError
from wsi_idc.runs.manifest import Manifest
from wsi_idc.runs.overwriting import begun_in
from wsi_idc.runs.results.folder import LARGEST, OUTPUTS, PARTIAL, UNFINISHED, holding, read_summary
from wsi_idc.runs.upkeep.status import up_to_date


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed, how many bytes it took, and why nobody wants it."""

    path: Path
    size: int
    why: str


# See `_kind`.
_Kind = tuple[Any, ...]


def clean(output: Path) -> tuple[list[Removed], list[Path]]:
    """Remove what no run will want from the output folder of `segment`; also returns the folders in use, left alone.

    That is what is unfinished of slides that are done, of another version of this tool, or of a model or settings other
    than those of a run that ended since; results half written; and files of processes that were killed. Brings
    manifest.csv up to date with what the folders of slides hold. Raises OutputError where it cannot be done.
    """
    manifest, held = Manifest(output / "manifest.csv"), []
    removed: list[Removed] = []
    try:
        folders = sorted(p for p in output.iterdir() if p.is_dir())
        latest, overwriting = _latest(folders), bool(begun_in(output))
        for folder in folders:
            try:
                removed += _clean(folder, latest, overwriting)
            except (HeldError, PermissionError):
                held.append(folder)
        removed += [_remove(path, "written by a process that was killed") for path in left_behind(output)]
    except OSError as error:
        raise output_error(output, error) from error
    if behind := [now for held, now in up_to_date(output, manifest) if now != held]:
        manifest.update(*behind)
    if manifest.written_s():
        manifest.settle()
    return removed, held


def _clean(folder: Path, latest: tuple[float, _Kind], overwriting: bool) -> list[Removed]:
    """Remove what is left in the folder of a slide, under its lock; nothing is touched where there is nothing left."""
    half = folder / PARTIAL
    gone = [(folder / HOLDER, "the lock of a process that is gone")]
    if not (half / OUTPUTS[-1]).exists():
        gone.append((half, "results half written"))
    found = [Removed(path, _size(path), why) for path, why in gone if path.exists()]
    killed = left_behind(folder)
    if not (found or killed or half.exists() or (folder / UNFINISHED).exists()):
        return []
    # Removes half written results, and the lock at its end; what was killed while it was put in place is finished.
    with holding(folder, overwrite=True):
        found += [_remove(path, "written by a process that was killed") for path in killed]
        if (folder / UNFINISHED).exists() and (why := _why_unwanted(folder, latest, overwriting)):
            found.append(_remove(folder / UNFINISHED, why))
    return found


def _why_unwanted(folder: Path, latest: tuple[float, _Kind], overwriting: bool) -> str:
    """Say why no run will go on with what is unfinished; empty where one may."""
    place = folder / UNFINISHED
    try:
        note = read_json(place / "identity.json", LARGEST)
        made_by, kind = note.pop("wsi_idc"), _kind(note)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return "what run it is of cannot be read"
    if made_by != version("wsi-idc"):
        return f"of version {made_by}, and this is {version('wsi-idc')}"
    with suppress(DataError):
        summary = read_summary(folder)
        whole = summary["state"] == "done" and all((folder / name).exists() for name in OUTPUTS)
        if whole and (summary["identity"] == note or not overwriting):
            return "its slide is done"
    when = max(path.stat().st_mtime for path in (place, *place.rglob("*")))
    since, other = latest
    return "of another model, or other settings, than what was computed since" if since > when and other != kind else ""


def _latest(folders: list[Path]) -> tuple[float, _Kind]:
    """Return when the last of the runs ended, and of what kind it is."""
    found: list[tuple[float, _Kind]] = [(0.0, ())]
    for folder in folders:
        with suppress(OSError, DataError, KeyError, TypeError, AttributeError):
            found.append(((folder / OUTPUTS[-1]).stat().st_mtime, _kind(read_summary(folder)["identity"])))
    return max(found, key=lambda run: run[0])


def _kind(identity: dict[str, Any]) -> _Kind:
    """Return model, settings and form of a run; without the scale, which a list may give for each slide."""
    parameters = {name: value for name, value in identity["parameters"].items() if name != "mpp"}
    return identity["model_sha256"], json.dumps(parameters, sort_keys=True), identity["result_format"]


def _remove(path: Path, why: str) -> Removed:
    removed = Removed(path, _size(path), why)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return removed


def _size(path: Path) -> int:
    return sum(p.lstat().st_size for p in (path, *path.rglob("*")) if not p.is_dir())
