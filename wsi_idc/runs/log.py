"""log.jsonl of an output folder: what happened when, a line each, of all runs that were ever made into it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wsi_idc.errors import HeldError
from wsi_idc.runs.executors.executor import Listener

_log = logging.getLogger(__name__)

NAME = "log.jsonl"
# Seconds between lines that say how far a slide is.
_EVERY_S = 5.0


@dataclass(slots=True)
class RunLog:
    """Appends lines to log.jsonl; whole ones, though several processes do. It is never the reason why a run fails."""

    output: Path
    _given_up: bool = False

    def write(self, stage: str, slide: str = "", **facts: Any) -> None:
        """Append a line: time, stage, the slide, and what else is to be said of it; `--verbose` shows it too."""
        _log.info("%s", " ".join([stage, slide, *(f"{name} {value}" for name, value in facts.items())]))
        if self._given_up:
            return
        moment = time.time()
        zone = time.strftime("%z", time.localtime(moment))
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(moment)) + f".{int(moment % 1 * 1000):03}{zone}"
        line = {"time": stamp, "stage": stage} | ({"slide": slide} if slide else {}) | facts
        text = (json.dumps(line) + "\n").encode()
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            # Not in Python's buffers, which are written in parts.
            opened = os.open(self.output / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(opened, text)
            finally:
                os.close(opened)
        except OSError as error:
            self._given_up = True
            _log.warning("%s: cannot be written (%s); the run goes on without it", self.output / NAME, error.strerror)


class Logged(Listener):
    """Writes into the log what a listener is told of slides, and tells it."""

    def __init__(self, output: Path, slides: Sequence[Path], listener: Listener | None) -> None:
        """Begin with a line for the run."""
        self._log, self._listener = RunLog(output), listener or Listener()
        # Names of files need not be valid UTF-8.
        self._slides = [os.fsencode(slide).decode("utf-8", "replace") for slide in slides]
        self._states: Counter[str] = Counter()
        self._patches: Counter[int] = Counter()
        self._next: dict[int, float] = {}
        self._log.write("run begun", slides=len(slides), version=version("wsi-idc"), process=os.getpid())

    def started(self, number: int) -> None:
        """See `Listener`."""
        self._log.write("begun", self._slides[number])
        self._listener.started(number)

    def planned(self, number: int, patches: int) -> None:
        """See `Listener`."""
        self._log.write("tissue found", self._slides[number], patches=patches)
        # A slide that is begun again is counted from the start.
        self._patches[number], self._next[number] = 0, time.monotonic() + _EVERY_S
        self._listener.planned(number, patches)

    def advanced(self, number: int, patches: int) -> None:
        """See `Listener`."""
        self._patches[number] += patches
        if (now := time.monotonic()) >= self._next.get(number, now):
            self._log.write("computing", self._slides[number], patches=self._patches[number])
            self._next[number] = now + _EVERY_S
        self._listener.advanced(number, patches)

    def delayed(self, number: int, reason: str) -> None:
        """See `Listener`."""
        self._log.write("delayed", self._slides[number], warning=reason)
        self._listener.delayed(number, reason)

    def ended(self, number: int, outcome: Any) -> None:
        """See `Listener`."""
        slide = self._slides[number]
        if isinstance(outcome, Exception):
            state = "left to another run" if isinstance(outcome, HeldError) else "failed"
            self._log.write(state, slide, warning=str(outcome))
        else:
            state = outcome.summary["state"]
            for warning in filter(None, [outcome.summary["message"], *outcome.summary["warnings"]]):
                self._log.write("warning", slide, warning=warning)
            seconds = {} if outcome.reused else {"seconds": outcome.summary["timings"]}
            self._log.write(f"{state} before" if outcome.reused else state, slide, **seconds)
        self._states[state] += 1
        self._listener.ended(number, outcome)

    def stopped(self, reason: str) -> None:
        """Say why the run ends before its slides do."""
        self._log.write("stopped", warning=reason)

    def finish(self) -> None:
        """End with a line for the run."""
        self._log.write("run ended", "", **self._states)
