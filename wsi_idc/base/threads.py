"""Work in threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_parallel(work: Callable[[T], object], items: Iterable[T], workers: int) -> None:
    """Call `work` with each item, in threads; after an error, or an interrupt, none is begun any more."""
    pool = ThreadPoolExecutor(workers)
    try:
        for _ in pool.map(work, items):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
