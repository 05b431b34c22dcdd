"""Tasks on the workers of a Dask cluster, each in a child process of the worker, so that the limits hold there too."""

from __future__ import annotations

import time
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from wsi_idc.errors import LostError
from wsi_idc.runs.executors.executor import Job, Limits, Listener, shared
from wsi_idc.runs.executors.processes import Child, Pool

if TYPE_CHECKING:
    from distributed import Client, Future

# Progress travels by way of the scheduler: not more often than this.
_TELL_S = 0.5


@dataclass(frozen=True, slots=True)
class Cluster:
    """Does tasks on the workers of a cluster, as many at once as they have threads; see `Executor`.

    A worker does a task in a process of its own, which it ends when the time of the task is over, and begins anew when
    it dies. A worker that dies itself costs its tasks a try too; others do them. Cores are those of the machine that
    a worker is on, divided among the tasks that are done there at once.
    """

    client: Client
    limits: Limits

    def run(self, tasks: Sequence[Any], job: Job, listener: Listener) -> None:
        """Do all tasks; job, tasks and results are pickled, and what a task names must be there on every machine."""
        run = _Run(self.client, self.limits, tasks, job, listener)
        self.client.subscribe_topic(run.topic, run.heard.put)
        try:
            self.client.wait_for_workers(1)
            run.all()
        finally:
            self.client.unsubscribe_topic(run.topic)
            self.client.cancel(list(run.running))
            # Not waited for: a worker that hangs would keep the others from being told. One that died needs no telling.
            self.client.run(_end_children, run.topic, wait=False, on_error="ignore")


class _Run:
    """The tasks of one run: those that wait, and the futures of those at work."""

    def __init__(self, client: Client, limits: Limits, tasks: Sequence[Any], job: Job, listener: Listener) -> None:
        self.topic = f"wsi-idc-{uuid.uuid4().hex}"
        # What workers tell, and futures that ended, from threads of the client.
        self.heard: SimpleQueue[Any] = SimpleQueue()
        self.running: dict[Future, int] = {}
        self._client, self._limits, self._tasks, self._job, self._listener = client, limits, tasks, job, listener
        self._waiting, self._begun = deque(range(len(tasks))), Counter[int]()

    def all(self) -> None:
        """Do all tasks."""
        self._begin()
        while self.running:
            said = self.heard.get()
            if isinstance(said, tuple):
                self._hear(*said[1])
            elif said in self.running:
                self._ended(said)
            # A cluster may grow while it works.
            self._begin()

    def _begin(self) -> None:
        """Give work to every thread that has none."""
        threads = self._client.nthreads()
        while self._waiting and len(self.running) < max(1, sum(threads.values())):
            number = self._waiting.popleft()
            work = (self.topic, number, self._tasks[number], self._job, self._limits, threads)
            future = self._client.submit(_do, *work, pure=False)
            self.running[future] = number
            future.add_done_callback(self.heard.put)

    def _hear(self, number: int, kind: str, value: Any) -> None:
        """Pass on what a worker tells of a task."""
        if number not in self.running.values():
            # Given up since.
            return
        if kind != "started":
            getattr(self._listener, kind)(number, value)
            return
        self._begun[number] += 1
        if self._begun[number] <= 1 + self._limits.retries:
            self._listener.started(number)
            return
        # The scheduler has it begun once more where its worker died.
        future = next(f for f, n in self.running.items() if n == number)
        del self.running[future]
        future.cancel()
        self._client.run(_end_children, self.topic, number, wait=False, on_error="ignore")
        self._give_up(number)

    def _ended(self, future: Future) -> None:
        from distributed import KilledWorker

        number = self.running.pop(future)
        if future.status == "finished":
            self._listener.ended(number, future.result())
            return
        error = future.exception() if future.status == "error" else LostError("it was cancelled on the cluster")
        if not isinstance(error, KilledWorker):
            self._listener.ended(number, error)
        elif self._begun[number] <= self._limits.retries:
            self._waiting.append(number)
            self._listener.delayed(number, "its worker died")
        else:
            self._give_up(number)

    def _give_up(self, number: int) -> None:
        tries = f", in each of {1 + self._limits.retries} tries" if self._limits.retries else ""
        self._listener.ended(number, LostError(f"its worker died{tries}"))


# On a worker: child processes of a run that wait for its next task, those at work by task, and runs that are over.
_idle: dict[str, list[Child]] = {}
_at_work: dict[tuple[str, int], Pool] = {}
_over: set[tuple[str, int | None]] = set()


def _do(topic: str, number: int, task: Any, job: Job, limits: Limits, threads: dict[str, int]) -> Any:
    """Do a task in a child process of this worker; an error that it raises is returned."""
    from distributed import get_worker

    worker = get_worker()
    host = _host(worker.address)
    beside = sum(count for address, count in threads.items() if _host(address) == host)
    told = _Reporter(worker, topic, number)
    idle = _idle.setdefault(topic, [])
    job = shared(job, max(1, beside))
    pool = Pool([task], job, replace(limits, processes=1), told, [idle.pop()] if idle else [])
    _at_work[topic, number] = pool
    try:
        pool.run()
    finally:
        del _at_work[topic, number]
        for child in pool.children:
            if child.task is None and (topic, None) not in _over:
                idle.append(child)
            else:
                child.end()
    return told.outcome


async def _end_children(topic: str, number: int | None = None) -> None:
    """End what this worker does for a run, or for one task of it."""
    _over.add((topic, number))
    for (of, at), pool in list(_at_work.items()):
        if of == topic and number in (None, at):
            for child in pool.children:
                child.process.kill()
    if number is None:
        for child in _idle.pop(topic, []):
            child.end()


def _host(address: str) -> str:
    from distributed.comm import get_address_host

    return get_address_host(address)


class _Reporter(Listener):
    """Tells the machine that submitted a task how far it is, and keeps its outcome."""

    def __init__(self, worker: Any, topic: str, number: int) -> None:
        self.outcome: Any = None
        self._worker, self._topic, self._number = worker, topic, number
        self._patches, self._told = 0, time.monotonic()

    def started(self, number: int) -> None:
        self._tell("started", None)

    def planned(self, number: int, patches: int) -> None:
        self._tell("planned", patches)

    def advanced(self, number: int, patches: int) -> None:
        self._patches += patches
        if time.monotonic() - self._told > _TELL_S:
            self._flush()

    def delayed(self, number: int, reason: str) -> None:
        if {(self._topic, None), (self._topic, self._number)} & _over:
            raise LostError("the run is over")
        self._tell("delayed", reason)

    def ended(self, number: int, outcome: Any) -> None:
        self._flush()
        self.outcome = outcome

    def _flush(self) -> None:
        if self._patches:
            self._tell("advanced", self._patches)
        self._patches, self._told = 0, time.monotonic()

    def _tell(self, kind: str, value: Any) -> None:
        self._worker.log_event(self._topic, [self._number, kind, value])
