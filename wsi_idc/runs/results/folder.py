"""The folder of a run: its outputs appear whole or not at all, and what was there is never lost unasked."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsi_idc.base.disk.trouble import output_error
from wsi_idc.base.files import HOLDER, LOCK, locked, replacing, sha256_of, sync
from wsi_idc.base.inputs.bounded import read_bytes
from wsi_idc.base.inputs.documents import checked, parse_json, read_json
from wsi_idc.errors import DataError, DiskError, OtherRunError, OutputError, UnreachableError
from wsi_idc.runs.manifest import NUMBERS
from wsi_idc.runs.results.identity import differences, made_by
from wsi_idc.runs.results.outputs import schema
from wsi_idc.runs.results.sums import NOT_AS_WRITTEN, has_sums, is_sealed, sealed

_log = logging.getLogger(__name__)

# summary.json is the last to be put in place: where it is, the run is whole.
OUTPUTS = ("heatmap.zarr", "regions.geojson", "overview.png", "thumbnail.jpg", "report.html", "summary.json")
# Those of which summary.json has the sums.
SUMMED = OUTPUTS[:-1]
# What other commands read of it.
_READ = ("heatmap.zarr", "regions.geojson", "summary.json")
PARTIAL = ".partial"
# Bytes of a summary, in which chunks that failed are listed.
LARGEST = 1 << 25
# What tells whether a run is the one that is wanted, of any version of this tool.
_IDENTIFIED = {
    "type": "object",
    "required": ["identity"],
    "properties": {"identity": {"type": "object", "properties": {"parameters": {"type": "object"}}}},
}
# What a run that is killed leaves for the next one to go on with.
UNFINISHED = ".unfinished"


@contextmanager
def holding(folder: Path, overwrite: bool = False) -> Iterator[None]:
    """Hold `folder` under an OS lock, which dies with its owner; made if missing, and removed if it ends up empty.

    Finishes what a process killed while putting its outputs in place left undone. Raises OutputError where another
    process holds the folder, where it cannot be written, or, without `overwrite`, where it is no folder of this tool.
    """
    try:
        if not overwrite and _of_something_else(folder):
            raise OutputError(f"{folder}: holds files of something else; choose another -o or give --overwrite")
    except OSError as error:
        raise output_error(folder, error) from error
    with locked(folder):
        if (folder / PARTIAL / OUTPUTS[-1]).exists():
            _publish(folder)
        # Whoever left it behind is dead, or we would not hold the lock.
        shutil.rmtree(folder / PARTIAL, ignore_errors=True)
        yield


def _of_something_else(folder: Path) -> bool:
    """Say whether a folder holds anything, but nothing of this tool."""
    try:
        # At once: who has it may just be removing it.
        held = os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return False
    return bool(held) and not {LOCK, HOLDER, OUTPUTS[-1]} & set(held)


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
        content = read_bytes(folder / OUTPUTS[-1], LARGEST)
        summary = checked(parse_json(content), _IDENTIFIED)
    except (OSError, ValueError):
        raise OutputError(f"{folder}: holds files of something else; choose another -o or give --overwrite") from None
    if others := differences(summary["identity"], identity):
        of_slide = summary["identity"].get("slide_fingerprint") == identity["slide_fingerprint"]
        kind = OtherRunError if of_slide else OutputError
        raise kind(f"{folder}: holds another run ({'; '.join(others)}); choose another -o or give --overwrite")
    if summary.get("state") != "done" or not all((folder / name).exists() for name in OUTPUTS):
        return None
    if is_damaged(summary):
        return None
    if has_sums(summary) and not is_sealed(content, summary):
        _log.warning("%s: %s; wsi-idc verify says what else", folder / OUTPUTS[-1], NOT_AS_WRITTEN)
    return summary


def is_damaged(summary: dict[str, Any]) -> bool:
    """Say whether a summary of this form of the results is not as the output reference has it."""
    try:
        checked(summary, _readable())
    except ValueError:
        return True
    return False


def _readable() -> dict[str, Any]:
    """Return the schema of a summary that need not have sums: `wsi-idc verify` asks for these."""
    known = schema("summary")
    return known | {"required": [name for name in known["required"] if name not in ("sum", "sums")]}


def outline_files(outlines: Path) -> list[Path]:
    """Return what is read of outlines: a file itself, of a run its numbers, regions and heatmap."""
    return [outlines / name for name in _READ] if outlines.is_dir() else [outlines]


def numbers_of(summary: dict[str, Any]) -> dict[str, object]:
    """Return what the manifest has of summary.json, but for the state."""
    return {key: summary[key] for key in NUMBERS} | {
        "reason": reason_of(summary),
        "failed_chunks": len(summary["failed_chunks"]),
        "made_by": made_by(summary),
        # Told apart by what none of them holds.
        "warnings": "; ".join(warning.replace("; ", ", ") for warning in summary["warnings"]),
    }


def patches_lost(summary: Mapping[str, Any]) -> int:
    """Return how many patches of a slide were not computed."""
    return sum(chunk["patches"] for chunk in summary["failed_chunks"])


def reason_of(summary: Mapping[str, Any]) -> str:
    """Say why nothing of a slide was looked at, or how many patches were not computed and why; else "".

    Of several reasons it is the first.
    """
    if summary["message"] or not (chunks := summary["failed_chunks"]):
        return str(summary["message"])
    lost, reasons = patches_lost(summary), list(dict.fromkeys(c["reason"] for c in chunks))
    more = f", and {len(reasons) - 1} more reasons" if len(reasons) > 1 else ""
    return f"{lost} {'patch' if lost == 1 else 'patches'} not computed ({reasons[0]}{more})"


def took_s(summary: Mapping[str, Any]) -> float:
    """Return the seconds that computing the run of a summary took."""
    stages = (s for stage, s in summary["timings"].items() if stage != "wall_s" and not stage.endswith("_threads_s"))
    return float(sum(stages))


def read_summary(run: Path) -> dict[str, Any]:
    """Read summary.json in the folder of a run; raises DataError where there is none, or it is not that of a run."""
    try:
        return dict(read_json(run / OUTPUTS[-1], LARGEST, _readable()))
    except OSError as error:
        raise DataError(
            f"{run}: holds no summary.json of a run ({error.strerror}); give the folder of one slide that segment left"
        ) from error
    except ValueError as error:
        raise DataError(
            f"{run}: holds no summary.json of a run of this version ({error}); segment the slide again"
        ) from error


@contextmanager
def writing_to(folder: Path) -> Iterator[Path]:
    """Give a fresh place inside a folder that is held; on leaving without an error the outputs move into the folder.

    Raises OutputError where they cannot be written; then nothing of them is left. Where they cannot be moved, the next
    to hold the folder does it.
    """
    place = folder / PARTIAL
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        yield place
    except BaseException as error:
        shutil.rmtree(place, ignore_errors=True)
        if isinstance(error, OSError):
            raise output_error(folder, error) from error
        raise
    _publish(folder)


def replace_output(run: Path, name: str, text: str) -> None:
    """Write one of the results of a run anew, and its sum into summary.json: both, or neither.

    The sum stays what it was where the file was not whole before: else that would be known no more. Raises OutputError,
    also where summary.json is not whole.
    """
    with holding(run), writing_to(run) as place:
        content = read_bytes(run / OUTPUTS[-1], LARGEST)
        try:
            summary = parse_json(content, {"type": "object"})
        except ValueError:
            summary = {}
        if has_sums(summary) and not is_sealed(content, summary):
            raise OutputError(f"{run / OUTPUTS[-1]}: {NOT_AS_WRITTEN}; compute the slide again with --overwrite")
        # As long as nothing but this is there, it is not put in place by whoever comes after a kill.
        (place / name).write_text(text, encoding="utf-8")
        if has_sums(summary) and sha256_of(run / name) == summary["sums"].get(name):
            content = sealed(summary, summary["sums"] | {name: sha256_of(place / name)})
        unnamed = place / f"{OUTPUTS[-1]}.part"
        unnamed.write_bytes(content)
        unnamed.replace(place / OUTPUTS[-1])


@contextmanager
def unfinished(folder: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """Give a place inside a folder that is held, for what is dear to compute.

    It goes when the run ends, by an error too, unless that is one of a disk or of a network drive. It stays as well
    where a run is killed or interrupted: the next one of the same identity goes on from there. What a run of another
    identity left is removed. Raises OutputError where it cannot be written.
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
        failure = output_error(folder, error) if isinstance(error, OSError) else error
        if not isinstance(failure, (DiskError, UnreachableError)):
            remove_unfinished(folder)
        if failure is error:
            raise
        raise failure from error
    remove_unfinished(folder)


def remove_unfinished(folder: Path) -> None:
    """Remove what nobody goes on from: a run that was killed at its end leaves it beside its results."""
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def _publish(folder: Path) -> None:
    """Move the outputs into place. Killed at any point, it can be called again and goes on where it stopped."""
    place = folder / PARTIAL
    try:
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
    except OSError as error:
        raise output_error(folder, error) from error
    shutil.rmtree(place, ignore_errors=True)
