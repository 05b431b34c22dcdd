"""Files opened within bounds: regular ones only, and no more of them than can be meant.

What else a path may lead to, a pipe, a socket or a device, would be waited for or read without an end.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

# More than the patches of the largest set, or the slides of an archive; longer than any path or row.
_MOST_LINES, _LONGEST_LINE = 1_000_000, 1 << 16


def signature(path: Path) -> tuple[int, int, int] | None:
    """Return what tells one state of a file from another; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def check_regular(path: Path) -> int:
    """Return the size of a regular file in bytes, without opening it; raises OSError for whatever else is there."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _is_none(path, status.st_mode)
    return status.st_size


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to be read; raises OSError for whatever else is there, and does not wait for it."""
    check_regular(path)
    # Looked at again once it is open: meanwhile it may be another one.
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(mode := os.fstat(opened).st_mode):
            raise _is_none(path, mode)
        return os.fdopen(opened, "rb")
    except BaseException:
        os.close(opened)
        raise


def read_bytes(path: Path, most: int) -> bytes:
    """Read a regular file of at most so many bytes; raises OSError where it cannot be read, is none or is larger."""
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise _too_large(path, most)
        # Room is made for what is asked for, however small the file is.
        content = stream.read(size + 1)
        if len(content) > size:
            content += stream.read(most + 1 - len(content))
    if len(content) > most:
        raise _too_large(path, most)
    return content


def read_text(path: Path, most: int, errors: str = "strict") -> str:
    """Read a text in UTF-8, with or without a byte order mark, of at most so many bytes.

    Lines may end in any way and end in "\\n" here. Raises OSError as `read_bytes` does, ValueError where it is not
    UTF-8.
    """
    text = read_bytes(path, most).decode("utf-8-sig", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path, most: int, errors: str = "strict") -> list[str]:
    """Read the lines of a text, without their ends, as `read_text` does; of a list or a table.

    Raises ValueError too where there are more lines, or longer ones, than a list of anything has.
    """
    text = read_text(path, most, errors)
    if text.count("\n") > _MOST_LINES:
        raise ValueError(f"has more than {_MOST_LINES:,} lines")
    lines = text.split("\n")
    if max(map(len, lines)) > _LONGEST_LINE:
        raise ValueError(f"has a line of more than {_LONGEST_LINE:,} characters")
    return lines


def _is_none(path: Path, mode: int) -> OSError:
    if stat.S_ISDIR(mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return OSError(errno.EINVAL, "is a pipe, a socket or a device, not a file", str(path))


def _too_large(path: Path, most: int) -> OSError:
    size = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} kB"
    return OSError(errno.EFBIG, f"is larger than the {size} that such a file may have", str(path))
