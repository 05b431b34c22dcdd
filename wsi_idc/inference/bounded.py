"""How much a network may take when it is tried: a stranger's may ask for more memory than there is, or never end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

# Bytes beside those of the weights, which are held several times while a network is made.
ROOM, _COPIES = 2 << 30, 6
# So long a patch takes no network, on no machine.
LONGEST_S = 60.0


@contextmanager
def memory_for(weights: int) -> Iterator[None]:
    """Let this process take only so much more memory as a network of so many bytes of weights needs for a patch.

    What is within gets no more, and has to say so. Other threads are held to it too, so it is not to be for long. On
    systems but Linux nothing is limited.
    """
    before = _limit_to(ROOM + _COPIES * weights)
    try:
        yield
    finally:
        if before:
            resource.setrlimit(resource.RLIMIT_AS, before)


def _limit_to(more: int) -> tuple[int, int] | None:
    """Limit the addresses of this process to those it has and so many bytes; returns the limits before, if it did."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = pages * resource.getpagesize() + more
        if soft != resource.RLIM_INFINITY and soft <= wanted:
            return None
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    except (OSError, ValueError, AttributeError):
        return None
    return soft, hard


@contextmanager
def time_for(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` where what is within takes longer than `LONGEST_S`."""
    timer = threading.Timer(LONGEST_S, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
