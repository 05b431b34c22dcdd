"""Errors of disks and network drives, as lines that say which disk it is and what to do."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from wsi_idc.errors import DiskError, OutputError, WsiIdcError


def _numbers(names: str) -> list[int]:
    # Not every system has all of them.
    return [getattr(errno, name) for name in names.split() if hasattr(errno, name)]


# What disks and network drives say when there is no space on them, or none for this user; when they fail; and where
# files cannot be locked.
_FULL = dict(zip(_numbers("ENOSPC EDQUOT"), ("", ", as the quota of this user has it"), strict=False))
_FAILING = _numbers("EIO EREMOTEIO ESTALE ENODEV ENXIO EFBIG ENOTCONN ECONNRESET ETIMEDOUT EHOSTDOWN EHOSTUNREACH")
_FORBIDDEN = _numbers("EACCES EPERM")
_NO_LOCKS = _numbers("ENOLCK ENOTSUP EOPNOTSUPP ENOSYS")


def output_error(path: Path, error: OSError) -> WsiIdcError:
    """Turn an OSError of writing into the line that a user can act on; a slide that cannot be read stays what it is."""
    if isinstance(error, WsiIdcError):
        return error
    if error.errno in _FULL:
        return DiskError(f"{path}: no space left on {_disk_of(path)}{_FULL[error.errno]}; free some and run again")
    if error.errno in _NO_LOCKS:
        return OutputError(
            f"{path}: {_disk_of(path)} knows no locks ({error.strerror}), so that two runs could write there at once; "
            "choose another -o, or mount it with locks"
        )
    if error.errno in _FAILING:
        return DiskError(
            f"{path}: cannot be written ({error.strerror}); {_disk_of(path)} fails, run again once it is well"
        )
    if error.errno in _FORBIDDEN:
        return OutputError(
            f"{path}: cannot be written ({error.strerror}); choose another place, or ask for the right to write there"
        )
    if error.errno == errno.EROFS:
        # Of a disk: one that fails while it is written to may be made read-only, and what is computed stays.
        return DiskError(
            f"{path}: cannot be written ({error.strerror}); choose another place, or run again once "
            f"{_disk_of(path)} is not read-only"
        )
    return OutputError(f"{path}: cannot be written ({error.strerror or error})")


def _disk_of(path: Path) -> str:
    """Name the disk that a path is on, or is to be on, by where it is mounted, with its free space."""
    try:
        there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists()).resolve()
        mount = next(p for p in (there, *there.parents) if p.is_mount())
        total, _, free = shutil.disk_usage(there)
    except (OSError, StopIteration, ValueError):
        return "its disk"
    return f"the disk at {mount} ({said_bytes(free)} of {said_bytes(total)} free)"


def said_bytes(size: int) -> str:
    """Write a number of bytes as a person would say it, such as "1.2 GB"."""
    power = min(4, (len(str(size)) - 1) // 3)
    return f"{size / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
