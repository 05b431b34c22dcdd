"""Who does the jobs, one at a time: begins the process of each, waits for it, and says what came of it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from wsi_idc.base.inputs.documents import read_json
from wsi_idc.errors import DataError, WsiIdcError
from wsi_idc.runs.results.folder import read_summary
from wsi_idc.serve.place import Place
from wsi_idc.serve.queue import Job
from wsi_idc.serve.store import Store

_log = logging.getLogger(__name__)

# Seconds between looks at a process; until it is killed when it was asked to end; between looks at what expires.
_LOOK_S, _GRACE_S, _SWEEP_S = 0.2, 10.0, 300.0
# Seconds before what could not be done is tried again.
_SULK_S = 5.0
# A slide that takes longer hangs.
_LONGEST_S = 24 * 3600
_SAID = {"type": "object", "required": ["slides"], "properties": {"slides": {"type": "array"}}}
_LARGEST = 1 << 24


class Worker:
    """A thread that does one job after another; what was begun by a server that died comes first.

    The process of a job holds a lock, so that one which outlived its server is waited for, never begun a second time.
    """

    def __init__(self, store: Store) -> None:
        """Make one, which begins when it is started."""
        self._store, self._ends, self._swept = store, threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and the process of the job too: the next server goes on with it."""
        self._ends.set()
        with self._store.changed:
            self._store.changed.notify_all()
        self._thread.join(_GRACE_S + 5)

    def _work(self) -> None:
        while not self._ends.is_set():
            try:
                self._work_once()
            except (WsiIdcError, OSError) as error:
                # A disk that is full, or no process to be had: what waits is tried again.
                _log.warning("jobs wait for a moment: %s", error)
                self._ends.wait(_SULK_S)

    def _work_once(self) -> None:
        """Do the next job, or wait for one."""
        if time.monotonic() - self._swept > _SWEEP_S:
            self._swept = time.monotonic()
            self._store.sweep()
        if waiting := self._store.queue.all("running") or self._store.queue.all("queued"):
            self._do(waiting[0])
            return
        with self._store.changed:
            if not self._store.queue.all("queued") and not self._ends.is_set():
                self._store.changed.wait(_SWEEP_S)

    def _do(self, job: Job) -> None:
        place = self._store.place(job)
        try:
            lock = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            # Just removed.
            return
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # Of a server that died: it goes on by itself.
                code = self._wait(job, None, lock)
            else:
                os.ftruncate(lock, 0)
                # Of a server that died, and it ended meanwhile: what it left is told.
                ended = job.state == "running" and (place.text(place.refused) or _said(place) is not None)
                code = None if ended else self._begin(job, place, lock)
        finally:
            os.close(lock)
        if not self._ends.is_set():
            self._tell(job, place, code)

    def _begin(self, job: Job, place: Place, lock: int) -> int | None:
        """Begin the process of a job and wait for it; returns its exit status, None where it was not begun."""
        with suppress(DataError):
            if self._store.queue.begin(job.id).state != "running":
                return None
            facts = json.dumps({"name": job.name, "mpp": job.mpp, "most_bytes": self._store.bounds.most_bytes})
            place.refused.unlink(missing_ok=True)
            with place.said.open("wb") as said, place.errors.open("wb") as errors:
                # In a session of its own: what ends the server by Ctrl-C ends its jobs when it says so.
                process = subprocess.Popen(
                    [sys.executable, "-m", "wsi_idc.serve.process", str(place.folder), facts],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=errors,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
            return self._wait(job, process, lock)
        return None

    def _wait(self, job: Job, process: subprocess.Popen[bytes] | None, lock: int) -> int | None:
        """Wait until the process of a job ends, or end it; returns its exit status, None where that is not known."""
        begun, asked = time.monotonic(), None
        while True:
            try:
                if process:
                    return process.wait(_LOOK_S)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return None
            except subprocess.TimeoutExpired:
                pass
            except BlockingIOError:
                time.sleep(_LOOK_S)
            now = time.monotonic()
            if asked is None and (self._ends.is_set() or now - begun > _LONGEST_S or self._is_removed(job)):
                asked = now
                _end(process.pid if process else _pid(lock), signal.SIGINT)
            elif asked is not None and now - asked > _GRACE_S:
                _end(process.pid if process else _pid(lock), signal.SIGKILL)

    def _is_removed(self, job: Job) -> bool:
        try:
            return self._store.queue.get(job.id).state == "expired"
        except DataError:
            return True

    def _tell(self, job: Job, place: Place, code: int | None) -> None:
        """Say what came of a job, by what it left: how it ended is not known where another server began it.

        One that was begun too often has failed already, and what was sent of it stays.
        """
        if self._is_removed(job):
            # What it wrote after it was removed.
            place.remove()
            return
        with suppress(DataError):
            if self._store.queue.get(job.id).state != "running":
                return
            try:
                summary = read_summary(place.run())
                self._store.queue.move(job.id, "done", summary["message"] or "")
            except DataError:
                self._store.queue.move(job.id, "failed", _why(place, job, code))


def _why(place: Place, job: Job, code: int | None) -> str:
    """Return in words why a job failed, without telling where its files lie."""
    reason = place.text(place.refused) or str((_said(place) or {}).get("reason") or "")
    if not reason and code is not None and code < 0:
        reason = f"its process was ended by {signal.Signals(-code).name}, as when memory runs out; start it again"
    errors = [line for line in place.text(place.errors).splitlines() if line.startswith("error: ")]
    reason = reason or (errors[-1].removeprefix("error: ") if errors else "its process ended without results")
    slide = place.slide()
    for path in [*([slide] if slide else []), place.folder]:
        reason = reason.replace(f"{path}: ", "").replace(str(path), job.name)
    return reason


def _said(place: Place) -> dict[str, Any] | None:
    """Return what `wsi-idc segment` said of the slide as it ended; None where it did not."""
    try:
        return dict(read_json(place.said, _LARGEST, _SAID)["slides"][0])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _pid(lock: int) -> int:
    """Return the number of the process that holds a lock, which it wrote into it; 0 where it has not yet."""
    text = os.pread(lock, 20, 0).decode("ascii", "replace")
    return int(text) if text.isdecimal() else 0


def _end(pid: int, how: signal.Signals) -> None:
    # Its session, which it leads: itself and all that it began.
    if pid > 1:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, how)
