"""What runs tasks: the promise that all ways share, whom they tell how far they are, and the simplest way, in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


class Listener:
    """Is told what becomes of tasks, by number from 0, one thing at a time; what it raises ends everything.

    Of a slide `started`, `planned`, `advanced` and `ended` come in this order. This one does nothing: those that
    subclass it need not have all.
    """

    def started(self, number: int) -> None:
        """Task `number` is begun, for the first time or after it was delayed."""

    def planned(self, number: int, patches: int) -> None:
        """Task `number` found that it has so many patches to compute."""

    def advanced(self, number: int, patches: int) -> None:
        """Task `number` has computed so many patches more."""

    def delayed(self, number: int, reason: str) -> None:
        """What did task `number` died; it is begun again when the others have been begun."""

    def ended(self, number: int, outcome: Any) -> None:
        """Task `number` returned `outcome`, or raised it, or was given up with a LostError."""


# Does the task of a number, and tells the listener of `planned` and `advanced`; returns what came of it.
Job = Callable[[int, Any, Listener], Any]


@runtime_checkable
class SharesCores(Protocol):
    """A job that computes on all cores of a machine, unless it is told that others compute there too."""

    def shared_by(self, processes: int) -> Job:
        """Return the job for a machine on which so many processes do it at once."""


def shared(job: Job, processes: int) -> Job:
    """Return what each of some processes on one machine is to do."""
    return job.shared_by(processes) if isinstance(job, SharesCores) else job


@dataclass(frozen=True, slots=True)
class Limits:
    """How tasks run: `processes` at once, `minutes` for each (None for no end), `retries` after a death.

    On a cluster its workers decide how many run at once.
    """

    processes: int = 1
    minutes: float | None = None
    retries: int = 1

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant, with ValueError."""
        if self.processes < 1 or self.retries < 0 or not (self.minutes is None or self.minutes > 0):
            raise ValueError(f"{self} takes at least one process, time above 0 and no fewer than 0 retries")


class Executor(Protocol):
    """Does tasks: `Here`, in processes (`processes.Processes`), or on a cluster (`cluster_tasks.Cluster`).

    The latter two keep `Limits`: a task that takes too long is ended, one whose process dies is done again.
    """

    def run(self, tasks: Sequence[Any], job: Job, listener: Listener) -> None:
        """Do all tasks; what one raises is its outcome, and the others are done all the same."""


class Here:
    """Does tasks one after another in this process, where nothing can end them from outside."""

    def run(self, tasks: Sequence[Any], job: Job, listener: Listener) -> None:
        """See `Executor`."""
        for number, task in enumerate(tasks):
            listener.started(number)
            try:
                outcome = job(number, task, listener)
            except Exception as error:  # noqa: BLE001
                # Whatever one task brings up, the others are still to be done.
                outcome = error
            listener.ended(number, outcome)
