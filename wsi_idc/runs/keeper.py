"""Keeps manifest.csv and the page of an output folder, while a run, and maybe others beside it, computes slides."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsi_idc.base.disk.left import remove_left
from wsi_idc.base.files import is_held
from wsi_idc.base.inputs.bounded import signature
from wsi_idc.errors import (
    DataError,
    DiskError,
    HeldError,
    LostError,
    ModelError,
    OtherRunError,
    OutputError,
    SlideError,
    WsiIdcError,
)
from wsi_idc.runs.executors.executor import Listener
from wsi_idc.runs.folder_page import FolderPage
from wsi_idc.runs.manifest import Manifest, Row
from wsi_idc.runs.results.folder import OUTPUTS, numbers_of, read_summary, took_s
from wsi_idc.runs.settings import SegmentResult

_log = logging.getLogger(__name__)

Outcome = SegmentResult | WsiIdcError


@dataclass(slots=True)
class Keeper(Listener):
    """Keeps the manifest of `output`, and tells the caller's listener; `names` are the folders of the slides.

    The row of a slide that another process holds is its own to write. What is written of one that ended is what its
    folder holds at that moment, since another process may have been there meanwhile.
    """

    manifest: Manifest
    output: Path
    names: dict[Path, str]
    listener: Listener | None
    page: FolderPage | None = None
    outcomes: dict[Path, Outcome] = field(default_factory=dict)
    _slides: list[Path] = field(init=False)
    _begun: dict[int, float] = field(default_factory=dict)
    # What told the summary in the folder of a slide when it was begun.
    _before: dict[int, object] = field(default_factory=dict)
    _left: dict[int, HeldError] = field(default_factory=dict)
    _last_look: bool = False
    # The slides done by their content, as the fingerprints tell.
    _contents: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Number the slides."""
        self._slides = list(self.names)

    def announce(self, *, again: bool, kept: Sequence[bool]) -> None:
        """Say of all slides that they are to be done, but for those that are done, or that another process does.

        Where they are done `again`, only those that are `kept` are done.
        """
        remove_left(self.output)
        self.manifest.add(self._row(number, "pending") for number in range(len(self._slides)))

        def undone(held: Mapping[str, Row]) -> list[Row]:
            rows: list[Row] = []
            for number, slide in enumerate(self._slides):
                state = held.get(os.path.realpath(slide), {}).get("state")
                to_do = state in ("failed", "incomplete", "running") or (state == "done" and again and not kept[number])
                if to_do and not is_held(self.output / self.names[slide]):
                    rows.append(self._row(number, "pending"))
            return rows

        self.manifest.revise(undone)

    def started(self, number: int) -> None:
        """See `Listener`."""
        self._begun[number], self._before[number] = time.perf_counter(), signature(self._summary(number))
        self._revise(number, lambda there: self._row(number, "running") if there == "pending" else None)
        if self.listener:
            self.listener.started(number)

    def planned(self, number: int, patches: int) -> None:
        """See `Listener`."""
        if self.listener:
            self.listener.planned(number, patches)

    def advanced(self, number: int, patches: int) -> None:
        """See `Listener`."""
        if self.listener:
            self.listener.advanced(number, patches)

    def delayed(self, number: int, reason: str) -> None:
        """See `Listener`."""
        _log.debug("%s: %s", self._slides[number], reason)
        self._unless_held(number, self._row(number, "pending") | {"reason": f"{reason}; will be tried again"})
        if self.listener:
            self.listener.delayed(number, reason)

    def ended(self, number: int, outcome: Any) -> None:
        """See `Listener`."""
        if isinstance(outcome, (ModelError, DiskError)):
            # Every other slide would fail alike.
            raise outcome
        slide, seconds = self._slides[number], time.perf_counter() - self._begun[number]
        if isinstance(outcome, HeldError) and len(self._slides) > 1 and not self._last_look:
            self._left[number] = outcome
            if self.listener:
                self.listener.delayed(number, "another process has it")
            return
        if isinstance(outcome, Exception):
            self.outcomes[slide] = failure = as_slide_error(slide, outcome)
            _log.debug("%s failed", slide, exc_info=outcome)
            if not isinstance(outcome, HeldError):
                row = self._row(number, "failed") | {"reason": str(failure), "seconds": f"{seconds:.2f}"}
                if isinstance(outcome, OtherRunError):
                    # What it left are results all the same.
                    with suppress(DataError):
                        row = _with(self._done(number), "reason", str(failure))
                self._unless_held(number, row)
        else:
            self.outcomes[slide] = outcome
            if outcome.reused:
                # What computing it took, not finding it: forecasts go by it.
                seconds = took_s(outcome.summary)
            same = self._contents.setdefault(outcome.summary["identity"]["slide_fingerprint"], slide)
            twice = "" if same == slide else f"is the same slide as {same}, so it counts twice".replace("; ", ", ")

            def now(_: object) -> Row:
                row = self._done(number, outcome.summary) | {"seconds": f"{seconds:.2f}"}
                return _with(row, "warnings", twice)

            self._revise(number, now)
        if self.page:
            self.page.now_and_then()
        if self.listener:
            self.listener.ended(number, self.outcomes[slide])

    def left_to_others(self) -> list[int]:
        """Return the slides that another process had, by number: they are tried once more."""
        self._last_look = True
        return list(self._left)

    def of(self, numbers: Sequence[int]) -> Listener:
        """Return what is told of these slides, by their places in `numbers`."""
        return _Some(self, numbers)

    def stopped(self, error: DiskError) -> DiskError:
        """Keep that what was begun is still to be done, as far as a disk that is full allows; returns what to raise."""
        left = [number for number, slide in enumerate(self._slides) if slide not in self.outcomes]
        begun = [number for number in left if number in self._begun]
        for number in begun:
            # What processes that were ended were writing: the table needs the room.
            remove_left(self._summary(number).parent)
        with suppress(OutputError):
            for number in begun:
                self._unless_held(number, self._row(number, "pending") | {"reason": str(error)})
        # Else the page would say once more that the disk is full.
        self.page = None
        if len(self._slides) == 1:
            return error
        return DiskError(f"{error}; {len(left)} of {len(self._slides)} slides are still to be done")

    def close(self) -> None:
        """Bring the manifest and the page up to date."""
        try:
            self.manifest.settle()
        except DiskError as error:
            _log.warning("%s; the table lags behind, and the same command run again mends it", error)
        if self.page:
            self.page.write()

    def _unless_held(self, number: int, row: Row) -> None:
        """Write that a slide has no results of this run, unless another process has it, or had it and left some."""

        def decide(_: object) -> Row | None:
            if is_held(self.output / self.names[self._slides[number]]):
                return None
            if signature(self._summary(number)) == self._before[number]:
                return row
            with suppress(DataError):
                return self._done(number)
            return row

        self._revise(number, decide)

    def _done(self, number: int, summary: dict[str, Any] | None = None) -> dict[str, object]:
        """Return the row of a slide by the summary in its folder, or by this one where that cannot be read."""
        try:
            found = read_summary(self._summary(number).parent)
            return self._row(number, found["state"]) | numbers_of(found) | {"seconds": f"{took_s(found):.2f}"}
        except DataError:
            if summary is None:
                raise
            return self._row(number, summary["state"]) | numbers_of(summary)

    def _revise(self, number: int, decide: Any) -> None:
        slide = os.path.realpath(self._slides[number])

        def rows(held: Mapping[str, Row]) -> list[Row]:
            row = decide(held.get(slide, {}).get("state", ""))
            return [] if row is None else [row]

        self.manifest.revise(rows)

    def _summary(self, number: int) -> Path:
        return self.output / self.names[self._slides[number]] / OUTPUTS[-1]

    def _row(self, number: int, state: str) -> dict[str, object]:
        slide = self._slides[number]
        return {"slide": os.path.realpath(slide), "state": state, "output": self.names[slide]}


def _with(row: dict[str, object], column: str, more: str) -> dict[str, object]:
    """Return a row that says more in a column, behind what its results say."""
    return row | {column: "; ".join(filter(None, (str(row[column]), more)))}


@dataclass(frozen=True, slots=True)
class _Some(Listener):
    """Tells of some of the tasks, by their places among all."""

    listener: Listener
    numbers: Sequence[int]

    def started(self, number: int) -> None:
        self.listener.started(self.numbers[number])

    def planned(self, number: int, patches: int) -> None:
        self.listener.planned(self.numbers[number], patches)

    def advanced(self, number: int, patches: int) -> None:
        self.listener.advanced(self.numbers[number], patches)

    def delayed(self, number: int, reason: str) -> None:
        self.listener.delayed(self.numbers[number], reason)

    def ended(self, number: int, outcome: Any) -> None:
        self.listener.ended(self.numbers[number], outcome)


def as_slide_error(slide: Path, error: Exception) -> WsiIdcError:
    """Turn whatever a slide brought up into an error that names it."""
    if isinstance(error, LostError):
        return SlideError(f"{slide}: {error}")
    if isinstance(error, WsiIdcError):
        return error
    return SlideError(
        f"{slide}: {type(error).__name__}: {error}; not foreseen, please report it with what --debug shows"
    )
