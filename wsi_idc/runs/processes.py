"""Tasks in child processes that each do one after another, so that a crash or a hang of one task costs no other."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from wsi_idc.errors import LostError
from wsi_idc.runs.memory import be_lean

# Does one task and returns what came of it; what it gives to its second argument reaches `Watcher.reported`.
Job = Callable[[Any, Callable[[Any], None]], Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """How tasks run: `workers` processes at once, `minutes` for each (None for no end), `retries` after a death."""

    workers: int = 1
    minutes: float | None = None
    retries: int = 1

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant, with ValueError."""
        if self.workers < 1 or self.retries < 0 or not (self.minutes is None or self.minutes > 0):
            raise ValueError(f"{self} takes at least one worker, time above 0 and no fewer than 0 retries")


class Watcher(Protocol):
    """Is told, in the parent, what becomes of the tasks, by number from 0; what it raises ends everything."""

    def started(self, number: int) -> None:
        """Task `number` is begun."""

    def reported(self, number: int, message: Any) -> None:
        """Task `number` said something."""

    def delayed(self, number: int, reason: str) -> None:
        """The process of task `number` died; it is begun again when the others have been begun."""

    def ended(self, number: int, outcome: Any) -> None:
        """Task `number` returned `outcome`, or raised it, or was given up with a LostError."""


def run_here(tasks: Sequence[Any], job: Job, watcher: Watcher) -> None:
    """Do the tasks one after another in this process, without the limits of `run_tasks`."""
    for number, task in enumerate(tasks):
        watcher.started(number)
        try:
            outcome = job(task, partial(watcher.reported, number))
        except Exception as error:  # noqa: BLE001
            # Whatever one task brings up, the others are still to be done.
            outcome = error
        watcher.ended(number, outcome)


def run_tasks(tasks: Sequence[Any], job: Job, limits: Limits, watcher: Watcher) -> None:
    """Do the tasks in fresh processes, which each keep their copy of `job` from one task to the next.

    `job`, the tasks, the messages and the results are pickled; a script that calls this has to guard its main part by
    `if __name__ == "__main__":`. No process is left when this returns or raises. Raises LostError where processes die
    before they are given anything to do.
    """
    pool = _Pool(tasks, job, limits, watcher)
    try:
        pool.run()
    finally:
        for worker in pool.workers:
            worker.end()


class _Pool:
    """The processes, and the numbers of the tasks that wait for one."""

    def __init__(self, tasks: Sequence[Any], job: Job, limits: Limits, watcher: Watcher) -> None:
        self.workers: list[_Worker] = []
        self._tasks, self._job, self._limits, self._watcher = tasks, job, limits, watcher
        self._waiting, self._deaths, self._stillborn = deque(range(len(tasks))), Counter[int](), 0

    def run(self) -> None:
        """Do all tasks."""
        while self._waiting or any(w.task is not None for w in self.workers):
            self._begin()
            for worker in _woken(self.workers):
                self._hear(worker)
            for worker in [w for w in self.workers if w.task is not None and time.monotonic() > w.deadline]:
                self.workers.remove(worker)
                worker.end()
                given = f"{self._limits.minutes:g} minute{'' if self._limits.minutes == 1 else 's'}"
                lost = LostError(f"took longer than {given}; give more with --time-limit")
                self._watcher.ended(worker.number, lost)

    def _begin(self) -> None:
        """Start the processes that there is work for, and give work to those that have none."""
        busy = sum(w.task is not None for w in self.workers)
        while len(self.workers) < min(self._limits.workers, len(self._waiting) + busy):
            self.workers.append(_Worker(self._job))
        for worker in [w for w in self.workers if w.ready and w.task is None][: len(self._waiting)]:
            number = self._waiting.popleft()
            worker.begin(number, self._tasks[number], self._limits.minutes)
            self._watcher.started(number)

    def _hear(self, worker: _Worker) -> None:
        """Take one message of a process, or its end."""
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError):
            self.workers.remove(worker)
            self._bury(worker, worker.end(patience_s=5))
            return
        if kind == "ready":
            worker.ready, self._stillborn = True, 0
        elif kind == "reported":
            self._watcher.reported(worker.number, value)
        else:
            number, worker.task = worker.number, None
            if not isinstance(value, Exception):
                # At once: the process need not wait until its result is written down.
                self._begin()
            self._watcher.ended(number, value)

    def _bury(self, worker: _Worker, reason: str) -> None:
        """Have the task of a process that died done again, or give it up."""
        if (number := worker.task) is not None:
            self._deaths[number] += 1
            if self._deaths[number] <= self._limits.retries:
                # Behind the others: where several were too much for the memory, it may then be alone.
                self._waiting.append(number)
                self._watcher.delayed(number, reason)
            else:
                tries = f", in each of {self._deaths[number]} tries" if self._limits.retries else ""
                self._watcher.ended(number, LostError(reason + tries))
        elif not worker.ready:
            self._stillborn += 1
            if self._stillborn > self._limits.retries:
                raise LostError(f"no process can be started for the slides: {reason}")


class _Worker:
    """A child process, the pipe to it, and the number of the task that it does."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(job, theirs), daemon=True)
        self.ready = False
        self.task: int | None = None
        self.deadline = float("inf")
        # Else the first start does it, and lets interrupts through.
        resource_tracker.ensure_running()
        with _interrupts_held_back():
            self.process.start()
        # The end of the child is seen here only once no other process holds its side.
        theirs.close()

    @property
    def number(self) -> int:
        """The number of the task that is being done."""
        assert self.task is not None
        return self.task

    def begin(self, number: int, task: Any, minutes: float | None) -> None:
        """Give the process its next task."""
        self.task = number
        self.deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
        try:
            self.pipe.send(task)
        except OSError:
            # Dead since its last task: reading from the pipe says so next.
            return

    def end(self, patience_s: float = 0) -> str:
        """Kill the process where it does not end by itself before, and say how it ended."""
        self.process.join(patience_s)
        self.process.kill()
        # Not for ever: a process that waits for a dead network drive may not even be killed.
        self.process.join(10)
        self.pipe.close()
        return _reason(self.process.exitcode)


def _woken(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait until processes say something or die, or the time of a task is over; return those processes."""
    left = min(w.deadline if w.task is not None else float("inf") for w in workers) - time.monotonic()
    pipes = wait([w.pipe for w in workers], None if left == float("inf") else max(0.0, left))
    return [w for w in workers if w.pipe in pipes]


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold back Ctrl-C for a moment: a child begins with what is held back, and leaves Ctrl-C to its parent."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reason(code: int | None) -> str:
    if code is None or code >= 0:
        return f"its process ended with exit status {code}"
    known = {s.value: s.name for s in signal.Signals}
    name = known.get(-code, "unknown")
    return f"its process was killed by signal {-code} ({name}){', maybe for lack of memory' * (name == 'SIGKILL')}"


def _serve(job: Job, pipe: Connection) -> None:
    """Do tasks until the parent closes the pipe: what a child process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    be_lean()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    one_at_a_time = threading.Lock()

    def send(kind: str, value: Any) -> None:
        try:
            with one_at_a_time:
                pipe.send((kind, value))
        except BrokenPipeError:
            # The parent is gone.
            os._exit(1)

    send("ready", None)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            send("ended", job(task, lambda message: send("reported", message)))
        except Exception as error:  # noqa: BLE001
            send("ended", _portable(error))


def _die_with_parent() -> None:
    # A task in the middle of its work would not see that the pipe is closed.
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """Return an error that survives the pipe, itself where it does, with the traceback, which does not, as a note."""
    sent = error
    try:
        if type(pickle.loads(pickle.dumps(error))) is not type(error):
            raise TypeError(error)
    except Exception:  # noqa: BLE001
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note("".join(traceback.format_exception(error)))
    return sent
