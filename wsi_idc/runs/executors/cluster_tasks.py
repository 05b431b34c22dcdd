"""Tasks on the workers of a Dask cluster, each in a child process of the worker, so that the limits hold there too."""

from __future__ import annotations

import asyncio
import pickle
import time
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from wsi_idc.errors import LostError
from wsi_idc.runs.executors.executor import Job, Limits, Listener, shared
from wsi_idc.runs.executors.processes import Child, Pool

if TYPE_CHECKING:
    from distributed import Client, Future

# Progress travels by way of the scheduler: not more often than this.
_TELL_S = 0.5
# What a worker tells of a task before all else, and last, with its outcome.
_BEGUN, _ENDED = "begun", "ended"
# What a worker does of a run that is over has ended by then, or hangs.
_END_S = 60.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Does tasks on the workers of a cluster, as many at once as they have threads; see `Executor`.

    A worker does a task in a process of its own, which it ends when the time of the task is over, and begins anew when
    it dies. Of the tasks that had begun while a worker dies nobody knows which killed it, nor the machine with it: each
    is done alone, once all others are, and only what a worker dies of then is a try of its own. Cores are those of the
    machine that a worker is on, divided among the tasks that are done there at once.
    """

    client: Client
    limits: Limits

    def run(self, tasks: Sequence[Any], job: Job, listener: Listener) -> None:
        """Do all tasks; job, tasks and results are pickled, and what a task names must be there on every machine."""
        run = _Run(self.client, self.limits, tasks, job, listener)
        self.client.subscribe_topic(run.topic, run.heard.put)
        self.client.subscribe_topic("all", run.hear_of_workers)
        try:
            self.client.wait_for_workers(1)
            run.all()
        finally:
            for topic in (run.topic, "all"):
                self.client.unsubscribe_topic(topic)
            self.client.cancel([given.future for given in run.running.values()])
            # Not waited for: a worker that hangs would keep the others from being told. One that died needs no telling.
            self.client.run(_end_children, run.topic, wait=False, on_error="ignore")


@dataclass(frozen=True, slots=True)
class _Worker:
    """A worker as the scheduler knows it: `born` tells it from one that was at its address before."""

    born: str
    threads: int


@dataclass(slots=True)
class _Given:
    """A task that was given to one worker, and to no other should that die."""

    number: int
    address: str
    born: str
    alone: bool
    future: Future = field(init=False)
    begun: bool = False


class _Run:
    """The tasks of one run: those that wait, and those that were given to workers.

    A task is tied to one life of one worker: Dask would itself begin it elsewhere when its worker dies, and so take
    the next worker, and what is done there, with it before anyone could say stop.
    """

    def __init__(self, client: Client, limits: Limits, tasks: Sequence[Any], job: Job, listener: Listener) -> None:
        self.topic = f"wsi-idc-{uuid.uuid4().hex}"
        # What workers tell, what the scheduler tells of workers, and futures that ended, from threads of the client.
        self.heard: SimpleQueue[Any] = SimpleQueue()
        # By key: every time that a task is given out has a key of its own.
        self.running: dict[str, _Given] = {}
        self._client, self._limits, self._tasks, self._job, self._listener = client, limits, tasks, job, listener
        self._waiting, self._alone = deque(range(len(tasks))), deque[int]()
        self._keys, self._deaths = count(), Counter[int]()
        # Asked for only when workers come and go: what is given to one that just died is taken back when that is told.
        self._workers: dict[str, _Worker] = {}

    def hear_of_workers(self, event: tuple[float, Any]) -> None:
        """Take what the scheduler tells all who listen."""
        if event[1].get("action") in ("add-worker", "remove-worker"):
            self.heard.put(event)

    def all(self) -> None:
        """Do all tasks."""
        self._workers = self._client.run_on_scheduler(_known_workers)
        self._begin()
        while self.running or self._waiting or self._alone:
            said = self.heard.get()
            if not isinstance(said, tuple):
                self._ended(said)
            elif isinstance(said[1], dict):
                self._hear_of_worker(said[1])
            else:
                self._hear(*said[1])
            self._begin()

    def _begin(self) -> None:
        """Give work to every thread that has none; a cluster may grow while it works."""
        if not self._waiting and (self.running or not self._alone):
            return
        free = {address: worker.threads for address, worker in self._workers.items()}
        for given in self.running.values():
            free[given.address] = free.get(given.address, 0) - 1
        while self._waiting and max(free.values(), default=0) > 0:
            address = max(free, key=free.__getitem__)
            free[address] -= 1
            self._give(self._waiting.popleft(), address, alone=False)
        if self._alone and not self.running and self._workers:
            self._give(self._alone.popleft(), next(iter(self._workers)), alone=True)

    def _give(self, number: int, address: str, *, alone: bool) -> None:
        key = f"{self.topic}-{next(self._keys)}"
        given = _Given(number, address, self._workers[address].born, alone)
        beside = sum(worker.threads for other, worker in self._workers.items() if _host(other) == _host(address))
        work = (self.topic, key, given.born, self._tasks[number], shared(self._job, max(1, beside)), self._limits)
        given.future = self._client.submit(_do, *work, key=key, workers=[address], pure=False)
        self.running[key] = given
        given.future.add_done_callback(self.heard.put)

    def _hear(self, key: str, kind: str, value: Sequence[Any]) -> None:
        """Pass on what a worker tells of a task."""
        if (given := self.running.get(key)) is None:
            # Given to another since.
            return
        if kind == _BEGUN:
            given.begun = True
        elif kind == _ENDED:
            del self.running[key]
            self._listener.ended(given.number, pickle.loads(value[0]))
        else:
            getattr(self._listener, kind)(given.number, *value)

    def _hear_of_worker(self, event: dict[str, Any]) -> None:
        """Take back what a worker had in hand that died or left."""
        workers = self._workers = self._client.run_on_scheduler(_known_workers)
        if event["action"] != "remove-worker":
            return
        for key, given in list(self.running.items()):
            if key in event["processing-tasks"]:
                self._take_back(key)
                self._give_again(given, died=not event["expected"])
            elif given.address == event["worker"] and (
                given.address not in workers or workers[given.address].born != given.born
            ):
                # It left before the task came to it.
                self._take_back(key)
                self._give_again(given, died=False)

    def _take_back(self, key: str) -> None:
        self.running.pop(key).future.cancel()

    def _give_again(self, given: _Given, *, died: bool) -> None:
        """Queue a task once more; only that it had begun, alone, on a worker that died is a try of its own.

        That it began may be lost where it kills at once in a process that waited; a fresh worker has none.
        """
        number, at_fault = given.number, died and given.begun
        if at_fault and given.alone:
            self._deaths[number] += 1
            if self._deaths[number] > self._limits.retries:
                tries = f", in each of {self._deaths[number]} tries" if self._limits.retries else ""
                self._listener.ended(number, LostError(f"its worker died{tries}"))
                return
        (self._alone if at_fault or given.alone else self._waiting).append(number)
        if given.begun:
            self._listener.delayed(number, "its worker died" if died else "its worker left")

    def _ended(self, future: Future) -> None:
        """Take a future that ended: of a task that was done its worker has told before."""
        from distributed import KilledWorker

        if (given := self.running.get(key := str(future.key))) is None:
            return
        if future.status == "finished":
            # Another worker had come to the address, and did nothing.
            del self.running[key]
            self._give_again(given, died=False)
            return
        error = future.exception() if future.status == "error" else LostError("it was cancelled on the cluster")
        # Which worker that was the scheduler tells by itself.
        if not isinstance(error, KilledWorker):
            del self.running[key]
            self._listener.ended(given.number, error)


def _known_workers(dask_scheduler: Any) -> dict[str, _Worker]:
    """Return the workers by address, on the scheduler."""
    return {w.address: _Worker(w.server_id, w.nthreads) for w in dask_scheduler.workers.values()}


# On a worker: child processes of a run that wait for its next task, those at work by key, and runs that are over.
_idle: dict[str, list[Child]] = {}
_at_work: dict[tuple[str, str], Pool] = {}
_over: set[str] = set()


def _do(topic: str, key: str, born: str, task: Any, job: Job, limits: Limits) -> None:
    """Do a task in a child process of this worker, and tell what it returns or raises."""
    from distributed import get_worker

    worker = get_worker()
    if worker.id != born:
        # The worker that it was given to died, and this one came to its address.
        return
    told = _Reporter(worker, topic, key)
    told.tell(_BEGUN)
    idle = _idle.setdefault(topic, [])
    pool = Pool([task], job, replace(limits, processes=1), told, [idle.pop()] if idle else [])
    _at_work[topic, key] = pool
    try:
        # Only now: from here on `_end_children` sees it.
        if topic not in _over:
            pool.run()
    finally:
        del _at_work[topic, key]
        for child in pool.children:
            if child.task is None and topic not in _over:
                idle.append(child)
            else:
                child.end()


async def _end_children(topic: str) -> None:
    """End what this worker does for a run; a child that is only being started, too."""
    _over.add(topic)
    until = time.monotonic() + _END_S
    while time.monotonic() < until:
        pools = [pool for (of, _), pool in list(_at_work.items()) if of == topic]
        if not pools:
            break
        for child in [child for pool in pools for child in pool.children]:
            child.process.kill()
        await asyncio.sleep(0.02)
    for child in _idle.pop(topic, []):
        child.end()


def _host(address: str) -> str:
    from distributed.comm import get_address_host

    return get_address_host(address)


class _Reporter(Listener):
    """Tells the machine that submitted a task how far it is, and what came of it."""

    def __init__(self, worker: Any, topic: str, key: str) -> None:
        self._worker, self._topic, self._key = worker, topic, key
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
        if self._topic in _over:
            raise LostError("the run is over")
        self.tell("delayed", reason)

    def ended(self, number: int, outcome: Any) -> None:
        self._flush()
        self.tell(_ENDED, pickle.dumps(outcome))

    def _flush(self) -> None:
        if self._patches:
            self.tell("advanced", self._patches)
        self._patches, self._told = 0, time.monotonic()

    def tell(self, kind: str, *value: Any) -> None:
        """Send what happened: a method of `Listener` and what it takes, `_BEGUN` or `_ENDED`."""
        self._worker.log_event(self._topic, [self._key, kind, value])
