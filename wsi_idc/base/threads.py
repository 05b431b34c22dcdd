"""Work in threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_parallel(work: Callable[[T], object], items: Iterable[T], threads: int) -> None:
    """Call `work` with each item, in threads; after an error, or an interrupt, none is begun any more."""
    pool = ThreadPoolExecutor(threads)
    try:
        for _ in pool.map(work, items):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
