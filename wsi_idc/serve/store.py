"""What was submitted, on disk and in the queue: what is taken in, what is kept for how long, what is removed."""

from __future__ import annotations

import re
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from wsi_idc.base.disk.trouble import said_bytes
from wsi_idc.errors import DataError, DiskError, OutputError, SettingsError
from wsi_idc.serve.place import Place
from wsi_idc.serve.queue import Job, Queue

# What must stay free on the disk beside what is announced: a run writes its results there, and others live there too.
_SPARE = 1 << 30
# A disk that holds an upload has to hold what is unpacked from it too.
_ROOM = 2
# Seconds for which it is told that something expired.
_TOLD_S = 7 * 86400
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is taken in: bytes of an upload, uploads that are kept, days for which they are."""

    most_bytes: int
    most_jobs: int
    keep_days: float


class Store:
    """The folder of a server; threads may share it. One process at a time has it."""

    def __init__(self, folder: Path, bounds: Bounds) -> None:
        """Open it, made if missing; raises OutputError where it cannot be written."""
        self.folder, self.bounds = folder, bounds
        (folder / "jobs").mkdir(parents=True, exist_ok=True)
        self.queue = Queue(folder / "queue.sqlite")
        # Told when something is to be done.
        self.changed = threading.Condition()
        for job in self.queue.all("uploading"):
            # Killed between the last byte and the note of it.
            if self.received(job) == job.size:
                self.queue.move(job.id, "queued")
        self.sweep()

    def close(self) -> None:
        """Close the queue."""
        self.queue.close()

    def place(self, job: Job) -> Place:
        """Return where a job lies."""
        return Place(self.folder / "jobs" / job.id)

    def begin(self, name: str, size: int, mpp: float | None) -> Job:
        """Begin an upload of `size` bytes; raises SettingsError, OutputError or DiskError where it is too much."""
        if size > self.bounds.most_bytes:
            most, given = said_bytes(self.bounds.most_bytes), said_bytes(size)
            raise SettingsError(f"{given} are more than the {most} that a slide may have here")
        with self.changed:
            kept = self.queue.all("uploading", "queued", "running", "done", "failed")
            if len(kept) >= self.bounds.most_jobs:
                raise OutputError(f"{len(kept)} slides are kept here already, which is the most; remove some first")
            coming = sum(job.size - self.received(job) for job in kept if job.state == "uploading")
            if shutil.disk_usage(self.folder).free < _SPARE + coming + _ROOM * size:
                raise DiskError("there is no room left for it on the disk of the server; remove some slides first")
            job = self.queue.add(name, size, mpp)
            place = self.place(job)
            place.folder.mkdir()
            place.upload.touch()
            return job

    def received(self, job: Job) -> int:
        """Return how many bytes of an upload are there."""
        if job.state != "uploading":
            return job.size
        try:
            return self.place(job).upload.stat().st_size
        except FileNotFoundError:
            return 0

    def complete(self, key: str) -> Job:
        """Queue an upload that is whole; raises DataError where it was removed meanwhile."""
        return self._told(self.queue.move(key, "queued"))

    def again(self, key: str, mpp: float | None) -> Job:
        """Queue a job that failed once more, with another scale if that is given; raises DataError."""
        # Asked for twice at once, the second finds it queued, and takes nothing away from what runs already.
        with self.changed:
            job = self.queue.get(key)
            place = self.place(job)
            if job.state != "failed":
                raise DataError(f"it is {job.state}; only what failed is begun again")
            if not (place.upload.is_file() or place.slide()):
                raise DataError("it is not there any more; upload it again")
            place.refused.unlink(missing_ok=True)
            if mpp is not None and mpp != job.mpp:
                # What was computed at another scale is not gone on with; the slide made of it holds none.
                shutil.rmtree(place.output, ignore_errors=True)
            return self._told(self.queue.move(key, "queued", mpp=mpp))

    def remove(self, key: str, reason: str) -> None:
        """Remove a job with all that lies of it; who computes it sees that. Raises DataError where there is none."""
        job = self._told(self.queue.move(key, "expired", reason))
        self.place(job).remove()

    def sweep(self) -> None:
        """Remove what was kept long enough, and what was half removed when the server was killed."""
        now, keep_s = time.time(), self.bounds.keep_days * 86400
        for job in self.queue.all("uploading", "done", "failed"):
            if max(job.changed, self._touched(job)) < now - keep_s:
                self.remove(job.id, f"it was kept for {self.bounds.keep_days:g} days")
        self.queue.forget(now - _TOLD_S)
        known = {job.id for job in self.queue.all() if job.state != "expired"}
        for folder in (self.folder / "jobs").iterdir():
            if _ID.fullmatch(folder.name) and folder.name not in known:
                Place(folder).remove()

    def _touched(self, job: Job) -> float:
        """Return when a part of an upload last came in."""
        try:
            return self.place(job).upload.stat().st_mtime if job.state == "uploading" else 0.0
        except FileNotFoundError:
            return 0.0

    def _told(self, job: Job) -> Job:
        with self.changed:
            self.changed.notify_all()
        return job
