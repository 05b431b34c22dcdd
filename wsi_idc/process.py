"""How a process that does nothing but segment slides uses cores and memory, set once when it starts."""

from __future__ import annotations

import ctypes
import os

# Options of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE = 1 << 20


def be_lean() -> None:
    """Keep BLAS from spinning beside the engine, and have freed arrays go back to the system (glibc only).

    Left to itself malloc keeps what large arrays took, in an arena for each thread: a seventh of the memory of a run.
    Whatever the environment sets comes first. BLAS heeds this only where NumPy is not loaded yet.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        # Not glibc.
        return
    for option, name, value in (
        (_ARENA_MAX, "MALLOC_ARENA_MAX", 2),
        (_MMAP_THRESHOLD, "MALLOC_MMAP_THRESHOLD_", _LARGE),
        (_TRIM_THRESHOLD, "MALLOC_TRIM_THRESHOLD_", _LARGE),
    ):
        if name not in os.environ:
            mallopt(option, value)
