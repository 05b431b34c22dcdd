"""Files and folders not in place yet, named by the process that writes them: so those of the dead can be removed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

# Processes of two containers often have the same number.
_NODE = platform.node()[-12:]


def name_until_whole(name: str) -> str:
    """Return what a file is called that this process writes, until it is whole and gets its `name`."""
    # The ending stays: writers tell the format from it.
    return f".{_NODE}-{os.getpid()}-{name}"


def temporary_folder(folder: Path, name: str) -> tempfile.TemporaryDirectory[str]:
    """Make a folder in another one, in which what is to have `name` is made; what was left where this was killed goes.

    Raises OSError.
    """
    remove_left(folder, name)
    return tempfile.TemporaryDirectory(dir=folder, prefix=f"{name_until_whole(name)}-")


def left_behind(folder: Path, name: str = "") -> list[Path]:
    """Return what processes of this machine were writing into a folder, to be called `name`, when they were killed.

    Without a name all of it. Folders have eight more characters behind theirs. Raises OSError.
    """
    wanted = rf"{re.escape(name)}(-\w{{8}})?$" if name else "."
    pattern = re.compile(rf"\.{re.escape(_NODE)}-(\d+)-{wanted}")
    # Names only: there may be thousands.
    found = [(held, pattern.match(held)) for held in os.listdir(folder)]  # noqa: PTH208
    return [folder / held for held, match in found if match and not _is_alive(int(match[1]))]


def remove_left(folder: Path, name: str = "") -> None:
    """Remove what `left_behind` finds, as far as that can be done."""
    with suppress(OSError):
        for path in left_behind(folder, name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if os.name == "nt":
        # To ask would end it there.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True
