"""The folder of a run: its outputs appear whole or not at all, and what was there is never lost unasked."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsi_idc.base.files import HOLDER, LOCK, locked, output_error, replacing, sha256_of, sync
from wsi_idc.errors import DataError, OutputError
from wsi_idc.runs.results.identity import differences
from wsi_idc.runs.results.sums import NOT_AS_WRITTEN, has_sums, is_sealed, sealed

_log = logging.getLogger(__name__)

# summary.json is the last to be put in place: where it is, the run is whole.
OUTPUTS = ("heatmap.zarr", "regions.geojson", "overview.png", "thumbnail.jpg", "report.html", "summary.json")
# Those of which summary.json has the sums.
SUMMED = OUTPUTS[:-1]
# What other commands read of it.
_READ = ("heatmap.zarr", "regions.geojson", "summary.json")
PARTIAL = ".partial"
# What a run that is killed leaves for the next one to go on with.
UNFINISHED = ".unfinished"


@contextmanager
def holding(folder: Path, overwrite: bool = False) -> Iterator[None]:
    """Hold `folder` under an OS lock, which dies with its owner; made if missing, and removed if it ends up empty.

    Finishes what a process killed while putting its outputs in place left undone. Raises OutputError where another
    process holds the folder, where it cannot be written, or, without `overwrite`, where it is no folder of this tool.
    """
    try:
        if not overwrite and folder.is_dir() and any(folder.iterdir()) and not _ours(folder):
            raise OutputError(f"{folder}: holds files of something else; choose another -o or give --overwrite")
    except OSError as error:
        raise output_error(folder, error) from error
    with locked(folder):
        try:
            if (folder / PARTIAL / OUTPUTS[-1]).exists():
                _publish(folder)
            yield
        finally:
            # Whoever left a partial folder behind is dead, or we would not hold the lock.
            shutil.rmtree(folder / PARTIAL, ignore_errors=True)


def _ours(folder: Path) -> bool:
    return any((folder / name).exists() for name in (LOCK, OUTPUTS[-1]))


def previous_run(folder: Path, identity: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """Return the summary of the same run where `folder` holds it whole, None where the run is to be done.

    The same run of another version of this tool is reused: see `identity.RESULT_FORMAT`. A run with chunks that failed
    is done again: what failed may have been the network. Raises OutputError, which says what differs, where the folder
    holds anything else and `overwrite` is not set.
    """
    held = [p for p in folder.iterdir() if p.name not in (PARTIAL, LOCK, UNFINISHED, HOLDER)]
    if overwrite or not held:
        return None
    try:
        content = (folder / "summary.json").read_bytes()
        summary = json.loads(content)
    except (OSError, ValueError):
        raise OutputError(f"{folder}: holds files of something else; choose another -o or give --overwrite") from None
    if others := differences(summary.get("identity", {}), identity):
        raise OutputError(f"{folder}: holds another run ({'; '.join(others)}); choose another -o or give --overwrite")
    if summary.get("state") != "done" or not all((folder / name).exists() for name in OUTPUTS):
        return None
    if has_sums(summary) and not is_sealed(content, summary):
        _log.warning("%s: %s; wsi-idc verify says what else", folder / OUTPUTS[-1], NOT_AS_WRITTEN)
    return summary


def outline_files(outlines: Path) -> list[Path]:
    """Return what is read of outlines: a file itself, of a run its numbers, regions and heatmap."""
    return [outlines / name for name in _READ] if outlines.is_dir() else [outlines]


def read_summary(run: Path) -> dict[str, Any]:
    """Read summary.json in the folder of a run; raises DataError where there is none, or it is not that of a run."""
    try:
        summary: dict[str, Any] = json.loads((run / OUTPUTS[-1]).read_text(encoding="utf-8"))
        slide, *_ = (summary[key] for key in ("slide", "state", "model", "parameters", "identity"))
        float(slide["mpp"]["x"]), float(slide["mpp"]["y"]), int(slide["width"]), int(slide["height"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{run}: holds no summary.json of a run; give the folder of one slide that segment left"
        ) from error
    return summary


@contextmanager
def writing_to(folder: Path) -> Iterator[Path]:
    """Give a fresh place inside a folder that is held; on leaving without an error the outputs move into the folder.

    Raises OutputError where they cannot be written; then nothing of them is left.
    """
    place = folder / PARTIAL
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        yield place
        _publish(folder)
    except OSError as error:
        raise output_error(folder, error) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def replace_output(run: Path, name: str, text: str) -> None:
    """Write one of the results of a run anew, and its sum into summary.json: both, or neither.

    The sum stays what it was where the file was not whole before: else that would be known no more. Raises OutputError,
    also where summary.json is not whole.
    """
    with holding(run), writing_to(run) as place:
        content = (run / OUTPUTS[-1]).read_bytes()
        try:
            summary = json.loads(content)
        except (ValueError, RecursionError):
            summary = {}
        if has_sums(summary) and not is_sealed(content, summary):
            raise OutputError(f"{run / OUTPUTS[-1]}: {NOT_AS_WRITTEN}; compute the slide again with --overwrite")
        # As long as nothing but this is there, it is not put in place by whoever comes after a kill.
        (place / name).write_text(text, encoding="utf-8")
        if has_sums(summary) and sha256_of(run / name) == summary["sums"].get(name):
            content = sealed(summary, summary["sums"] | {name: sha256_of(place / name)})
        write_last(place, content)


def write_last(place: Path, content: bytes) -> None:
    """Write summary.json, under another name first: once it is there, all the others are whole."""
    unnamed = place / f"{OUTPUTS[-1]}.part"
    unnamed.write_bytes(content)
    unnamed.replace(place / OUTPUTS[-1])


@contextmanager
def unfinished(folder: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """Give a place inside a folder that is held, for what is dear to compute.

    It goes when the run ends, by an error too. A run that is killed or interrupted leaves it to the next one of the
    same identity; what a run of another identity left is removed. Raises OutputError where it cannot be written.
    """
    place = folder / UNFINISHED
    note, text = place / "identity.json", json.dumps(identity, sort_keys=True)
    try:
        if not (note.exists() and note.read_text(encoding="utf-8") == text):
            shutil.rmtree(place, ignore_errors=True)
            with replacing(note) as temporary:
                temporary.write_text(text, encoding="utf-8")
        yield place
    except Exception as error:
        shutil.rmtree(place, ignore_errors=True)
        if isinstance(error, OSError):
            raise output_error(folder, error) from error
        raise
    shutil.rmtree(place, ignore_errors=True)


def _publish(folder: Path) -> None:
    """Move the outputs into place. Killed at any point, it can be called again and goes on where it stopped."""
    place = folder / PARTIAL
    sync(*place.rglob("*"), place)
    for name in OUTPUTS:
        source, target = place / name, folder / name
        if not source.exists():
            continue
        if name == OUTPUTS[-1]:
            sync(folder)
        if target.is_dir():
            shutil.rmtree(place / f"{name}.old", ignore_errors=True)
            target.replace(place / f"{name}.old")
        source.replace(target)
