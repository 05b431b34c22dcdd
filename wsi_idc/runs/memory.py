"""How a process that does nothing but segment slides uses cores and memory, set once when it starts."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
from collections.abc import Callable

# Options of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE, _MUCH = 1 << 22, 1 << 26


def be_lean() -> None:
    """Keep BLAS from spinning beside the engine, have freed arrays go back to the system (glibc only), end at once.

    Left to itself malloc keeps what large arrays took, in an arena for each thread: a seventh of the memory of a run.
    Whatever the environment sets comes first. BLAS heeds this only where NumPy is not loaded yet.
    """
    # Else Python looks for cycles two hundred times while it loads modules, and in all of them on its way out: a tenth
    # of the time of a small slide.
    gc.set_threshold(20_000)
    atexit.register(gc.freeze)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    mallopt = _of_malloc("mallopt")
    if mallopt is None:
        return
    for option, name, value in (
        (_ARENA_MAX, "MALLOC_ARENA_MAX", 2),
        (_MMAP_THRESHOLD, "MALLOC_MMAP_THRESHOLD_", _LARGE),
        (_TRIM_THRESHOLD, "MALLOC_TRIM_THRESHOLD_", _MUCH),
    ):
        if name not in os.environ:
            mallopt(option, value)


def give_back() -> None:
    """Have memory that was freed go back to the system, between two stages of a slide (glibc only)."""
    if trim := _of_malloc("malloc_trim"):
        trim(0)


def _of_malloc(name: str) -> Callable[..., int] | None:
    """Return a function of glibc's malloc, or None where there is none."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return None
