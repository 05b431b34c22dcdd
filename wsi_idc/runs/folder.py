"""The folder of a run: its outputs appear whole or not at all, and what was there is never lost unasked."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from wsi_idc.errors import DataError, HeldError, OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# summary.json is the last to be put in place: where it is, the run is whole.
OUTPUTS = ("heatmap.zarr", "regions.geojson", "overview.png", "report.html", "summary.json")
_PARTIAL, _LOCK = ".partial", ".lock"
# What a run that is killed leaves for the next one to go on with.
_UNFINISHED = ".unfinished"
# Says who holds the lock. Not in the lock file itself, which whoever tries to lock it empties. It is locked too: who
# only wants to know whether a folder is held looks at this lock, so that looking keeps nobody from taking the other.
_HOLDER = ".holder"
# A look at the lock of the holder's file takes less than a millisecond; so long it is waited for.
_LOOK_S = 5.0


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
            if (folder / _PARTIAL / OUTPUTS[-1]).exists():
                _publish(folder)
            yield
        finally:
            # Whoever left a partial folder behind is dead, or we would not hold the lock.
            shutil.rmtree(folder / _PARTIAL, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` under an OS lock, which dies with its owner; made if missing, and removed if it ends up empty.

    Raises HeldError where another process holds the folder, OutputError where it cannot be written.
    """
    lock = FileLock(folder / _LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Where a look takes the lock itself, it is waited for.
        lock.acquire(timeout=0 if fcntl else _LOOK_S)
        shown = _show_holder(folder / _HOLDER)
    except Timeout:
        raise HeldError(f"{folder}: another wsi-idc{_holder(folder)} is writing there; wait for it to end") from None
    except OSError as error:
        lock.release()
        raise output_error(folder, error) from error
    try:
        yield
    finally:
        os.close(shown)
        (folder / _HOLDER).unlink(missing_ok=True)
        if [p.name for p in folder.iterdir()] == [_LOCK]:
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def is_held(folder: Path) -> bool:
    """Say whether a process holds the folder of a slide, by a lock that dies with its owner; changes nothing.

    Looking keeps nobody from holding the folder, nor from looking. A lock that may not be tried, in the folder of
    somebody else, is taken for held.
    """
    if fcntl is None:
        return _can_not_be_locked(folder / _LOCK)
    try:
        shown = os.open(folder / _HOLDER, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        fcntl.flock(shown, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(shown)
    return False


def _can_not_be_locked(lock: Path) -> bool:
    """Say whether a lock is held by trying to take it, where the system knows no shared locks."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _show_holder(file: Path) -> int:
    """Write who holds a folder, under a lock of the file's own; returns its descriptor, which keeps that lock."""
    shown = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(shown, f"process {os.getpid()} on {platform.node()}".encode())
        end = time.monotonic() + _LOOK_S
        while fcntl:
            try:
                fcntl.flock(shown, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Somebody looks. Who looks for so long was stopped in the middle of it: the folder is held all the
                # same, it only seems to be left.
                if time.monotonic() > end:
                    break
                time.sleep(0.01)
    except BaseException:
        os.close(shown)
        raise
    return shown


def _holder(folder: Path) -> str:
    try:
        return f" ({(folder / _HOLDER).read_text(encoding='utf-8')})"
    except OSError:
        # It is just being written, or removed.
        return ""


def _ours(folder: Path) -> bool:
    return any((folder / name).exists() for name in (_LOCK, OUTPUTS[-1]))


def previous_run(folder: Path, identity: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """Return the summary of the same run where `folder` holds it whole, None where the run is to be done.

    A run with chunks that failed is done again: what failed may have been the network. Raises OutputError where the
    folder holds anything else and `overwrite` is not set.
    """
    held = [p for p in folder.iterdir() if p.name not in (_PARTIAL, _LOCK, _UNFINISHED, _HOLDER)]
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
    place = folder / _PARTIAL
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        yield place
        _publish(folder)
    except OSError as error:
        raise output_error(folder, error) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def unfinished(folder: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """Give a place inside a folder that is held, for what is dear to compute.

    It goes when the run ends, by an error too. A run that is killed or interrupted leaves it to the next one of the
    same identity; what a run of another identity left is removed. Raises OutputError where it cannot be written.
    """
    place = folder / _UNFINISHED
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
    place = folder / _PARTIAL
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


def output_error(path: Path, error: OSError) -> OutputError:
    """Turn an OSError of writing into the line that a user can act on."""
    if error.errno == errno.ENOSPC:
        return OutputError(f"{path}: no space left on the device; nothing was kept, free some space and run again")
    return OutputError(f"{path}: cannot be written ({error.strerror or error})")


def sync(*paths: Path) -> None:
    """Have files, and the names in folders, reach the disk: what is named after them is then never there without them.

    Raises OSError where the disk says that they did not. What knows no such thing, as folders on some network drives,
    is left to itself.
    """
    for path in paths:
        try:
            opened = os.open(path, os.O_RDONLY if fcntl else os.O_RDWR)
        except (PermissionError, IsADirectoryError):
            # Windows opens no folders.
            continue
        try:
            os.fsync(opened)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
                raise
        finally:
            os.close(opened)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a name to write a file to; on leaving without an error it takes the place of `path`, else it is removed.

    What was written reaches the disk before the name does, so that a power loss leaves the old file or the new one.
    Not `durable`, it takes no time, for what can be made again and is looked at before it is used. Raises OutputError
    where it cannot be written.
    """
    # The ending stays: writers tell the format from it. Processes of two containers often have the same number.
    temporary = path.with_name(f".{platform.node()[-12:]}-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
