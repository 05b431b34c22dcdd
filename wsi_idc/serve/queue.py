"""The queue: a table in SQLite of what was submitted and how far it is. What becomes of a job is decided here."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from wsi_idc.base.disk.trouble import output_error
from wsi_idc.errors import DataError, OutputError

# What may come after what. An upload that is whole is queued; what runs when the server dies still runs for the next.
NEXT: dict[str, tuple[str, ...]] = {
    "uploading": ("queued", "failed", "expired"),
    "queued": ("running", "failed", "expired"),
    "running": ("done", "failed", "expired"),
    "failed": ("queued", "expired"),
    "done": ("expired",),
    "expired": (),
}
# A job that takes its server down with it is not begun for ever.
_MOST_TRIES = 5
_TABLE = """CREATE TABLE IF NOT EXISTS job (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
    mpp REAL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', tries INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL, changed REAL NOT NULL
)"""


@dataclass(frozen=True, slots=True)
class Job:
    """What was submitted: `size` in bytes, `mpp` in um per pixel where it was said, times in seconds since 1970.

    `name` is what its sender calls it: text to be shown, never a path. `tries` counts how often it was begun.
    """

    number: int
    id: str
    name: str
    size: int
    mpp: float | None
    state: str
    reason: str
    tries: int
    created: float
    changed: float


_COLUMNS = ", ".join(field.name for field in fields(Job))


class Queue:
    """The jobs of a folder; threads may share it. Every change is on disk before it is told of."""

    def __init__(self, file: Path) -> None:
        """Open the table, made if missing; raises OutputError where it cannot be written, or is none."""
        self.file, self._lock = file, threading.RLock()
        try:
            self._table = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._table.execute("PRAGMA journal_mode=WAL")
            self._table.execute("PRAGMA synchronous=FULL")
            self._table.execute(_TABLE)
        except sqlite3.Error as error:
            raise OutputError(f"{file}: the queue cannot be opened ({error}); give another --data") from error

    def close(self) -> None:
        """Close the table."""
        with self._lock:
            self._table.close()

    def add(self, name: str, size: int, mpp: float | None = None) -> Job:
        """Take note of an upload that begins; it gets an id that nobody guesses."""
        now, new = time.time(), secrets.token_hex(16)
        with self._change() as table:
            table.execute(
                "INSERT INTO job (id, name, size, mpp, state, created, changed) VALUES (?, ?, ?, ?, 'uploading', ?, ?)",
                (new, name, size, mpp, now, now),
            )
            return self.get(new)

    def get(self, key: str) -> Job:
        """Return a job; raises DataError where there is none of that id."""
        found = self._read("WHERE id = ?", key)
        if not found:
            raise DataError("there is no such upload, or it was removed")
        return found[0]

    def all(self, *states: str) -> list[Job]:
        """Return the jobs in some states, or in all of them, in the order in which they came."""
        marks = ", ".join("?" * len(states))
        return self._read(f"WHERE state IN ({marks}) ORDER BY number" if states else "ORDER BY number", *states)

    def move(self, key: str, state: str, reason: str = "", mpp: float | None = None) -> Job:
        """Put a job into another state, with the reason; with `mpp` that is its scale from now on.

        Raises DataError where there is none of that id, or where its state has no such next one.
        """
        with self._change() as table:
            job = self.get(key)
            if state not in NEXT[job.state]:
                raise DataError(f"what is {job.state} cannot become {state}")
            table.execute(
                "UPDATE job SET state = ?, reason = ?, changed = ?, mpp = coalesce(?, mpp), "
                "tries = CASE ? WHEN 'queued' THEN 0 ELSE tries END WHERE id = ?",
                (state, reason, time.time(), mpp, state, key),
            )
            return self.get(key)

    def begin(self, key: str) -> Job:
        """Count that a job is begun, or taken up again; it fails where that happened too often without an end.

        Returns it in the state "running" or "failed"; raises DataError where it is in none that can be begun.
        """
        with self._change() as table:
            job = self.get(key) if self.get(key).state == "running" else self.move(key, "running")
            if job.tries >= _MOST_TRIES:
                return self.move(key, "failed", f"it was begun {_MOST_TRIES} times, and the server ended before it did")
            table.execute("UPDATE job SET tries = tries + 1 WHERE id = ?", (key,))
            return self.get(key)

    def forget(self, before: float) -> None:
        """Drop what expired before a time."""
        with self._change() as table:
            table.execute("DELETE FROM job WHERE state = 'expired' AND changed < ?", (before,))

    def _read(self, where: str, *values: object) -> list[Job]:
        with self._lock:
            try:
                return [Job(*row) for row in self._table.execute(f"SELECT {_COLUMNS} FROM job {where}", values)]
            except sqlite3.Error as error:
                raise OutputError(f"{self.file}: the queue cannot be read ({error})") from error

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """Change the table, all of it or nothing; may be entered within itself."""
        with self._lock:
            outermost = not self._table.in_transaction
            try:
                if outermost:
                    self._table.execute("BEGIN IMMEDIATE")
                yield self._table
                if outermost:
                    self._table.execute("COMMIT")
            except BaseException as error:
                if outermost and self._table.in_transaction:
                    self._table.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise output_error(self.file, OSError(str(error))) from error
                raise
