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
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from wsi_idc.errors import LostError
from wsi_idc.runs.executors.executor import Job, Limits, Listener, shared
from wsi_idc.runs.memory import be_lean


@dataclass(frozen=True, slots=True)
class Processes:
    """Does tasks in fresh processes, which each keep their copy of the job from one task to the next."""

    limits: Limits

    def run(self, tasks: Sequence[Any], job: Job, listener: Listener) -> None:
        """Do all tasks; see `Executor`.

        The job, the tasks and the results are pickled; a script that calls this has to guard its main part by
        `if __name__ == "__main__":`. No process is left when this returns or raises. Raises LostError where processes
        die before they are given anything to do.
        """
        pool = Pool(tasks, shared(job, self.limits.processes), self.limits, listener)
        try:
            pool.run()
        finally:
            for child in pool.children:
                child.end()


# Several threads of a worker may start processes at once.
_STARTING = threading.Lock()


class Pool:
    """The processes, and the numbers of the tasks that wait for one."""

    def __init__(
        self, tasks: Sequence[Any], job: Job, limits: Limits, listener: Listener, idle: Sequence[Child] = ()
    ) -> None:
        """Take over processes of this very job that have nothing to do."""
        self.children = list(idle)
        self._tasks, self._job, self._limits, self._listener = tasks, job, limits, listener
        self._waiting, self._deaths, self._stillborn = deque(range(len(tasks))), Counter[int](), 0

    def run(self) -> None:
        """Do all tasks."""
        while self._waiting or any(w.task is not None for w in self.children):
            self._begin()
            for child in _woken(self.children):
                self._hear(child)
            for child in [w for w in self.children if w.task is not None and time.monotonic() > w.deadline]:
                self.children.remove(child)
                child.end()
                given = f"{self._limits.minutes:g} minute{'' if self._limits.minutes == 1 else 's'}"
                lost = LostError(f"took longer than {given}; give more with --time-limit")
                self._listener.ended(child.number, lost)

    def _begin(self) -> None:
        """Start the processes that there is work for, and give work to those that have none."""
        busy = sum(w.task is not None for w in self.children)
        while len(self.children) < min(self._limits.processes, len(self._waiting) + busy):
            self.children.append(Child(self._job))
        for child in [w for w in self.children if w.ready and w.task is None][: len(self._waiting)]:
            number = self._waiting.popleft()
            child.begin(number, self._tasks[number], self._limits.minutes)
            self._listener.started(number)

    def _hear(self, child: Child) -> None:
        """Take one message of a process, or its end."""
        try:
            kind, value = child.pipe.recv()
        except (EOFError, OSError):
            self.children.remove(child)
            self._bury(child, child.end(patience_s=5))
            return
        if kind == "ready":
            child.ready, self._stillborn = True, 0
        elif kind == "planned":
            self._listener.planned(child.number, value)
        elif kind == "advanced":
            self._listener.advanced(child.number, value)
        else:
            number, child.task = child.number, None
            if not isinstance(value, Exception):
                # At once: the process need not wait until its result is written down.
                self._begin()
            self._listener.ended(number, value)

    def _bury(self, child: Child, reason: str) -> None:
        """Have the task of a process that died done again, or give it up."""
        if (number := child.task) is not None:
            self._deaths[number] += 1
            if self._deaths[number] <= self._limits.retries:
                # Behind the others: where several were too much for the memory, it may then be alone.
                self._waiting.append(number)
                self._listener.delayed(number, reason)
            else:
                tries = f", in each of {self._deaths[number]} tries" if self._limits.retries else ""
                self._listener.ended(number, LostError(reason + tries))
        elif not child.ready:
            self._stillborn += 1
            if self._stillborn > self._limits.retries:
                raise LostError(f"no process can be started for the slides: {reason}")


class Child:
    """A child process, the pipe to it, and the number of the task that it does."""

    def __init__(self, job: Job) -> None:
        """Start it; it says when it is ready for a task."""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(job, theirs), daemon=True)
        self.ready = False
        self.task: int | None = None
        self.deadline = float("inf")
        # Else the first start does it, and lets interrupts through.
        resource_tracker.ensure_running()
        with _interrupts_held_back(), _allowed_children():
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
            self.pipe.send((number, task))
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


def _woken(children: Sequence[Child]) -> list[Child]:
    """Wait until processes say something or die, or the time of a task is over; return those processes."""
    left = min(w.deadline if w.task is not None else float("inf") for w in children) - time.monotonic()
    pipes = wait([w.pipe for w in children], None if left == float("inf") else max(0.0, left))
    return [w for w in children if w.pipe in pipes]


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


@contextmanager
def _allowed_children() -> Iterator[None]:
    """Let a process start others though it is a daemon, as the workers of a Dask cluster are.

    That is forbidden to daemons since nobody would end their children: these end with their parent by themselves.
    """
    process = multiprocessing.current_process()
    with _STARTING:
        daemon = process.daemon
        if daemon:
            process.daemon = False
        try:
            yield
        finally:
            if daemon:
                process.daemon = True


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
            number, task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            send("ended", job(number, task, _Told(send)))
        except Exception as error:  # noqa: BLE001
            send("ended", _portable(error))


@dataclass(slots=True)
class _Told(Listener):
    """Passes on to the parent what a job tells."""

    send: Callable[[str, Any], None]

    def planned(self, number: int, patches: int) -> None:
        self.send("planned", patches)

    def advanced(self, number: int, patches: int) -> None:
        self.send("advanced", patches)


def _die_with_parent() -> None:
    # A task in the middle of its work would not see that the pipe is closed.
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """Return an error that survives the pipe, itself where it does, with the traceback, which does not, as a note."""
    told, sent = "".join(traceback.format_exception(error)), error
    # What it came from is in the note; where Dask's cluster is loaded it would be pickled too, which may never end.
    error.__cause__ = error.__context__ = error.__traceback__ = None
    try:
        if type(pickle.loads(pickle.dumps(error))) is not type(error):
            raise TypeError(error)
    except Exception:  # noqa: BLE001
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note(told)
    return sent
