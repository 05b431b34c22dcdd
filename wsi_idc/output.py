"""The folder of a run: its outputs appear whole or not at all, and what was there is never lost unasked."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wsi_idc.errors import OutputError

OUTPUTS = ("heatmap.zarr", "regions.geojson", "overview.png", "report.html", "summary.json")
_PARTIAL, _LOCK = ".partial", ".lock"


def previous_run(folder: Path, identity: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """Return the summary of the same run where `folder` holds it whole, None where the run is to be done.

    A run with chunks that failed is done again: what failed may have been the network. Raises OutputError where the
    folder holds anything else and `overwrite` is not set.
    """
    held = [p for p in folder.iterdir() if p.name not in (_PARTIAL, _LOCK)] if folder.is_dir() else []
    if overwrite or not held:
        return None
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise OutputError(f"{folder}: holds files of something else; choose another -o or give --overwrite") from None
    if summary.get("identity") == identity:
        whole = summary.get("state") == "done" and all((folder / name).exists() for name in OUTPUTS)
        return summary if whole else None
    raise OutputError(
        f"{folder}: holds another run (other slide, model or parameters); choose another -o or give --overwrite"
    )


@contextmanager
def writing_to(folder: Path) -> Iterator[Path]:
    """Hold `folder` under an OS lock, which dies with its owner, and give a fresh place inside it to write to.

    On leaving without an error the outputs move from there into the folder; else they are removed. Raises OutputError
    where another process holds the folder or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(f"{folder}: another wsi-idc is writing there; wait for it to end") from None
    except OSError as error:
        raise _output_error(folder, error) from error
    place = folder / _PARTIAL
    try:
        # Whoever left this behind is dead, or we would not hold the lock.
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        yield place
        _publish(place, folder)
    except OSError as error:
        raise _output_error(folder, error) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
        lock.release()


def _publish(place: Path, folder: Path) -> None:
    """Move the outputs into place; summary.json leaves first and comes last, so its presence means a whole run."""
    (folder / "summary.json").unlink(missing_ok=True)
    for name in OUTPUTS:
        target = folder / name
        if target.is_dir():
            target.replace(place / f"{name}.old")
        (place / name).replace(target)


def _output_error(folder: Path, error: OSError) -> OutputError:
    if error.errno == errno.ENOSPC:
        return OutputError(f"{folder}: no space left on the device; nothing was kept, free some space and run again")
    return OutputError(f"{folder}: cannot be written ({error.strerror or error})")
