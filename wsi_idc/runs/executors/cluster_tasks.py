"""Tasks on the workers of a Dask cluster, each in a child process of the worker, so that the limits hold there too."""

from __future__ import annotations

import asyncio
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
# What a worker tells before all else: it has a task.
_BEGUN = "begun"
# After a worker died, before the next task: what was on it may take another with it before that can be stopped.
_SETTLE_S = 3.0
# What a worker does of a task that was taken back has ended by then, or hangs.
_END_S = 60.0


# A task, by number, and how often it was given out before.
Ticket = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Does tasks on the workers of a cluster, as many at once as they have threads; see `Executor`.

    A worker does a task in a process of its own, which it ends when the time of the task is over, and begins anew when
    it dies. Of the tasks on a worker that dies itself nobody knows which killed it: each is done alone, once all others
    are, and what a worker dies of then is a try of its own. Cores are those of the machine that a worker is on, divided
    among the tasks that are done there at once.
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
        # By number of the task and how often it was given out before.
        self.running: dict[Future, Ticket] = {}
        self._client, self._limits, self._tasks, self._job, self._listener = client, limits, tasks, job, listener
        self._waiting, self._begun, self._given = deque(range(len(tasks))), Counter[int](), Counter[int]()
        # What was on a worker when that died.
        self._alone: deque[int] = deque()
        self._suspects: set[int] = set()

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
            self._give(self._waiting.popleft(), threads)
        if self._alone and not self.running:
            self._give(self._alone.popleft(), threads)

    def _give(self, number: int, threads: dict[str, int]) -> None:
        ticket = (number, self._given[number])
        self._given[number] += 1
        work = (self.topic, ticket, self._tasks[number], self._job, self._limits, threads)
        future = self._client.submit(_do, *work, pure=False)
        self.running[future] = ticket
        future.add_done_callback(self.heard.put)

    def _hear(self, told: Sequence[int], kind: str, value: Sequence[Any]) -> None:
        """Pass on what a worker tells of a task; a ticket comes as a list."""
        ticket = (told[0], told[1])
        if ticket not in self.running.values():
            # Given up, or taken back, since.
            return
        number = ticket[0]
        if kind != _BEGUN:
            getattr(self._listener, kind)(number, *value)
        # The scheduler has a task begun once more where its worker died.
        elif self._begun[number] and number not in self._suspects:
            self._take_back(ticket)
            self._suspect(number)
        elif self._begun[number] > self._limits.retries:
            self._take_back(ticket)
            self._give_up(number)
        else:
            self._begun[number] += 1

    def _take_back(self, ticket: Ticket) -> None:
        future = next(f for f, t in self.running.items() if t == ticket)
        del self.running[future]
        future.cancel()
        self._client.run(_end_children, self.topic, ticket, wait=False, on_error="ignore")
        time.sleep(_SETTLE_S)

    def _suspect(self, number: int) -> None:
        self._suspects.add(number)
        # What it died of in company may have been another's fault.
        self._begun[number] = 0
        self._alone.append(number)
        self._listener.delayed(number, "its worker died")

    def _ended(self, future: Future) -> None:
        from distributed import KilledWorker

        number, _ = self.running.pop(future)
        if future.status == "finished":
            self._listener.ended(number, future.result())
            return
        error = future.exception() if future.status == "error" else LostError("it was cancelled on the cluster")
        if not isinstance(error, KilledWorker):
            self._listener.ended(number, error)
        elif number not in self._suspects:
            self._suspect(number)
        else:
            self._give_up(number)

    def _give_up(self, number: int) -> None:
        tries = f", in each of {1 + self._limits.retries} tries" if self._limits.retries else ""
        self._listener.ended(number, LostError(f"its worker died{tries}"))


# On a worker: child processes of a run that wait for its next task, those at work by task, and runs that are over.
_idle: dict[str, list[Child]] = {}
_at_work: dict[tuple[str, Ticket], Pool] = {}
_over: set[tuple[str, Ticket | None]] = set()


def _do(topic: str, ticket: Ticket, task: Any, job: Job, limits: Limits, threads: dict[str, int]) -> Any:
    """Do a task in a child process of this worker; an error that it raises is returned."""
    from distributed import get_worker

    worker = get_worker()
    host = _host(worker.address)
    beside = sum(count for address, count in threads.items() if _host(address) == host)
    told = _Reporter(worker, topic, ticket)
    told.tell(_BEGUN)
    if (topic, ticket) in _over:
        # Taken back before it came here.
        return None
    idle = _idle.setdefault(topic, [])
    job = shared(job, max(1, beside))
    pool = Pool([task], job, replace(limits, processes=1), told, [idle.pop()] if idle else [])
    _at_work[topic, ticket] = pool
    try:
        pool.run()
    finally:
        del _at_work[topic, ticket]
        for child in pool.children:
            if child.task is None and (topic, None) not in _over:
                idle.append(child)
            else:
                child.end()
    return told.outcome


async def _end_children(topic: str, ticket: Ticket | None = None) -> None:
    """End what this worker does for a run, or for one task of it; a child that is only being started, too."""
    _over.add((topic, ticket))
    until = time.monotonic() + _END_S
    while time.monotonic() < until:
        pools = [pool for (of, at), pool in list(_at_work.items()) if of == topic and ticket in (None, at)]
        if not pools:
            break
        for child in [child for pool in pools for child in pool.children]:
            child.process.kill()
        await asyncio.sleep(0.02)
    if ticket is None:
        for child in _idle.pop(topic, []):
            child.end()


def _host(address: str) -> str:
    from distributed.comm import get_address_host

    return get_address_host(address)


class _Reporter(Listener):
    """Tells the machine that submitted a task how far it is, and keeps its outcome."""

    def __init__(self, worker: Any, topic: str, ticket: Ticket) -> None:
        self.outcome: Any = None
        self._worker, self._topic, self._ticket = worker, topic, ticket
        self._patches, self._told = 0, time.monotonic()

    def started(self, number: int) -> None:
        self.tell("started")

    def planned(self, number: int, patches: int) -> None:
        self.tell("planned", patches)

    def advanced(self, number: int, patches: int) -> None:
        self._patches += patches
        if time.monotonic() - self._told > _TELL_S:
            self._flush()

    def delayed(self, number: int, reason: str) -> None:
        if {(self._topic, None), (self._topic, self._ticket)} & _over:
            raise LostError("the run is over")
        self.tell("delayed", reason)

    def ended(self, number: int, outcome: Any) -> None:
        self._flush()
        self.outcome = outcome

    def _flush(self) -> None:
        if self._patches:
            self.tell("advanced", self._patches)
        self._patches, self._told = 0, time.monotonic()

    def tell(self, kind: str, *value: Any) -> None:
        """Send what happened: a method of `Listener` and what it takes, or `_BEGUN`."""
        self._worker.log_event(self._topic, [self._ticket, kind, value])
