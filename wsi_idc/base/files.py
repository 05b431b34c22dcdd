"""Files and folders that appear whole or not at all, and folders that one process at a time may write to."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import platform
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from wsi_idc.base.disk.left import name_until_whole, remove_left
from wsi_idc.base.disk.trouble import output_error
from wsi_idc.base.inputs.bounded import open_regular
from wsi_idc.errors import DataError, HeldError, OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
# Says who holds the lock. Not in the lock file itself, which whoever tries to lock it empties. It is locked too: who
# only wants to know whether a folder is held looks at this lock, so that looking keeps nobody from taking the other.
HOLDER = ".holder"
# A look at the lock of the holder's file takes less than a millisecond; so long it is waited for.
_LOOK_S = 5.0
_PATIENCE_S = 1.0


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` under an OS lock, which dies with its owner; made if missing, and removed if it ends up empty.

    Raises HeldError where another process holds the folder, OutputError where it cannot be written, or not locked.
    """
    lock = FileLock(folder / LOCK)
    # A holder that was just killed may need a moment to be gone; a look that takes the lock itself ends soon.
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            take(lock, max(0.0, end - time.monotonic()))
            shown = _show_holder(folder / HOLDER)
            break
        except Timeout:
            text = f"{folder}: another wsi-idc{_holder(folder)} is writing there; wait for it to end"
            raise HeldError(text) from None
        except OSError as error:
            lock.release()
            # Who had it before may just have removed it, empty.
            going = isinstance(error, (FileNotFoundError, FileExistsError)) and not _is_something_else(folder)
            if not going:
                raise output_error(folder, error) from error
            if time.monotonic() > end:
                raise HeldError(f"{folder}: others of wsi-idc come and go there; run again") from error
    try:
        yield
    finally:
        os.close(shown)
        (folder / HOLDER).unlink(missing_ok=True)
        if [p.name for p in folder.iterdir()] == [LOCK]:
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _is_something_else(folder: Path) -> bool:
    """Say whether what is there is no folder, by one look: between two it may be removed, or made again."""
    try:
        return not stat.S_ISDIR(folder.stat().st_mode)
    except OSError:
        return False


def take(lock: BaseFileLock, patience_s: float) -> None:
    """Take a lock; raises Timeout where another process has it so long, OSError where the disk knows no locks."""
    lock.acquire(timeout=patience_s)
    if isinstance(lock, SoftFileLock):
        # What stands in there for a lock does not die with its owner.
        lock.release()
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def is_held(folder: Path) -> bool:
    """Say whether a process holds the folder of a slide, by a lock that dies with its owner; changes nothing.

    Looking keeps nobody from holding the folder, nor from looking. A lock that may not be tried, in the folder of
    somebody else, is taken for held.
    """
    if fcntl is None:
        return _can_not_be_locked(folder / LOCK)
    try:
        shown = os.open(folder / HOLDER, os.O_RDONLY)
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
        return f" ({(folder / HOLDER).read_text(encoding='utf-8')})"
    except OSError:
        # It is just being written, or removed.
        return ""


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


def sha256_of(file: Path) -> str:
    """Return the sha256 of a file as hexadecimal digits; raises OSError where it cannot be read."""
    with open_regular(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# Of files by name: size in bytes, time of the last change in ns, and number.
State = dict[str, tuple[int, int, int]]


def state_of(*paths: Path) -> State:
    """Return what tells whether files, and those in folders, were changed since; raises OSError where one is gone."""
    found = {}
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            status = file.stat()
            found[str(file)] = status.st_size, status.st_mtime_ns, status.st_ino
    return found


def watch(*paths: Path) -> Callable[[], None]:
    """Look at files and folders before they are read; what is returned raises DataError where one is not as it was.

    What was read of one that is changed meanwhile may be of the old one and of the new one.
    """
    before = {path: state_of(path) for path in paths if path.exists()}

    def check() -> None:
        for path, known in before.items():
            try:
                same = state_of(path) == known
            except OSError:
                same = False
            if not same:
                raise DataError(f"{path}: was changed while it was read; run again once it stays as it is")

    return check


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a name to write a file to; on leaving without an error it takes the place of `path`, else it is removed.

    What was written reaches the disk before the name does, so that a power loss leaves the old file or the new one.
    What was left where this was killed before goes.
    Not `durable`, it takes no time, for what can be made again and is looked at before it is used. Raises OutputError
    where it cannot be written.
    """
    temporary = path.with_name(name_until_whole(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if durable:
            remove_left(path.parent, path.name)
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_free(path: Path, overwrite: bool = False) -> None:
    """Raise OutputError where there is something at `path` that may not be overwritten."""
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path}: is there already; choose another name or give --overwrite")


def put_in_place(made: Path, path: Path, overwrite: bool = False) -> bool:
    """Move a file that was made to `path`, and say whether it was not there before, byte for byte.

    Raises OutputError where another file has that name and may not be overwritten.
    """
    if path.is_file() and filecmp.cmp(made, path, shallow=False):
        return False
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path}: another file is there; choose another -o or give --overwrite")
    made.replace(path)
    return True
