"""How a process that does nothing but segment slides, or paint one, uses cores and memory, and what it loads."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

# Options of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
_LARGE, _MUCH = 1 << 22, 1 << 26
# What glibc has for the number of arrays that are mapped each by itself; and the most that an option can be.
_MAPPED, _MOST = 65536, (1 << 31) - 1
# What `scipy.ndimage` imports and does not use here: it copies all names of NumPy, and turns images by `special`.
_UNUSED = {"numpy.f2py", "numpy.polynomial", "numpy.testing", "scipy.special"}


def be_lean() -> None:
    """Keep BLAS from spinning beside the engine, have freed arrays go back to the system (glibc only), end at once.

    Parts of NumPy and SciPy that nothing here uses are loaded when something does: a seventh of the time of imports.
    Left to itself malloc keeps what large arrays took, in an arena for each thread: a seventh of the memory of a run.
    Whatever the environment sets comes first. BLAS heeds this only where NumPy is not loaded yet.
    """
    # Else Python looks for cycles two hundred times while it loads modules, and in all of them on its way out: a tenth
    # of the time of a small slide.
    gc.set_threshold(20_000)
    if not any(isinstance(finder, _Later) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Later())
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


class _Later(MetaPathFinder):
    """Finds modules that are loaded at the first use of anything in them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in _UNUSED else None
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
        return spec


def give_back() -> None:
    """Have memory that was freed go back to the system, between two stages of a slide (glibc only)."""
    if trim := _of_malloc("malloc_trim"):
        trim(0)


@contextmanager
def keeping() -> Iterator[None]:
    """Have malloc keep what large arrays took for the next ones, and give it back at the end (glibc only).

    Else the system makes the pages of each anew, and of many arrays of some 50 MB that takes as long as computing them.
    """
    mallopt = _of_malloc("mallopt")
    if mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        yield
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _MOST)
    try:
        yield
    finally:
        mallopt(_MMAP_MAX, _MAPPED)
        mallopt(_TRIM_THRESHOLD, _MUCH)
        give_back()


def _of_malloc(name: str) -> Callable[..., int] | None:
    """Return a function of glibc's malloc, or None where there is none."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return None
