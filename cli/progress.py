"""How far a command is: bars on a terminal, elsewhere a line now and then; and what became of slides."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from wsi_idc.base.shown import printable
from wsi_idc.cli.options import echo
from wsi_idc.errors import WsiIdcError

if TYPE_CHECKING:
    from rich.progress import Progress

    from wsi_idc.runs.executors.executor import Listener
    from wsi_idc.runs.settings import SegmentResult

# Where there is no terminal, a task has a line after so many seconds without one, and at each tenth where that is
# later than the least; none in the first seconds, in which most of what is short ends.
_EVERY_S, _LEAST_S = 30.0, 10.0
_TICK_S = 1.0


class Bars(Protocol):
    """What shows how far tasks are: rich's `Progress`, or lines."""

    def add_task(self, description: str, *, total: float | None = None, visible: bool = True, **fields: Any) -> Any:
        """Begin a task, and return what it is known by."""

    def update(self, task_id: Any, **changes: Any) -> None:
        """Change total, completed, description, visible or fields of a task, or advance it."""

    def advance(self, task_id: Any, advance: float = 1) -> None:
        """Advance a task."""

    def remove_task(self, task_id: Any) -> None:
        """Forget a task."""


@contextmanager
def progress_bar(text: str = "{task.description}", unit: str = "") -> Iterator[Bars]:
    """Show how far tasks are: on a terminal bars with the time left, else lines on stderr.

    `text` is what stands before a bar, as rich's template, `unit` what stands behind, of which lines say the last word.
    """
    if not sys.stderr.isatty():
        # What draws bars takes as long to load as to write the report of a slide.
        with _Lines(text, unit.split(" {")[0]) as lines:
            yield lines
        return
    with _rich(text, unit) as bars:
        yield bars


def _rich(text: str, unit: str) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    units = (TextColumn(unit),) if unit else ()
    # Names of files are no markup.
    columns = (TextColumn(text, markup=False), BarColumn(), MofNCompleteColumn(), *units, TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


@dataclass(slots=True)
class _Task:
    """A task, and what was said of it last: when, and how many tenths were done.

    `begun` is when what is counted now began, at `first`: a step with a name of its own may go on with the same count.
    """

    description: str
    total: float | None
    visible: bool
    completed: float = 0.0
    first: float = 0.0
    begun: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)
    tenths: int = 0

    def update(self, advance: float = 0, **changes: Any) -> None:
        before = (self.total, self.completed, self.description)
        for name in ("description", "total", "visible", "completed"):
            if name in changes:
                setattr(self, name, changes[name])
        self.completed += advance
        total, completed, description = before
        renamed = description != self.description and not self.total
        if self.total != total or self.completed < completed or renamed:
            self.begun, self.first, self.tenths = time.monotonic(), self.completed, 0

    def is_due(self, now: float) -> bool:
        tenths = int(10 * self.completed / self.total) if self.total else 0
        since = now - self.said
        a_tenth = tenths > self.tenths and now - self.begun >= _EVERY_S and since >= _LEAST_S
        if not self.visible or not (since >= _EVERY_S or a_tenth):
            return False
        self.said, self.tenths = now, tenths
        return True


class _Lines:
    """Says on stderr how far tasks are, from a thread of its own: one that is stuck says so too."""

    def __init__(self, text: str, unit: str) -> None:
        self._text, self._unit = text, unit
        self._tasks: dict[int, _Task] = {}
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def add_task(self, description: str, *, total: float | None = None, visible: bool = True, **_: Any) -> int:
        """See `Bars`."""
        with self._lock:
            number = max(self._tasks, default=0) + 1
            self._tasks[number] = _Task(description, total, visible)
        return number

    def update(self, task_id: int, **changes: Any) -> None:
        """See `Bars`."""
        with self._lock:
            self._tasks[task_id].update(**changes)

    def advance(self, task_id: int, advance: float = 1) -> None:
        """See `Bars`."""
        self.update(task_id, advance=advance)

    def remove_task(self, task_id: int) -> None:
        """See `Bars`."""
        with self._lock:
            del self._tasks[task_id]

    def _speak(self) -> None:
        while not self._ended.wait(_TICK_S):
            now = time.monotonic()
            with self._lock:
                lines = [self._line(task, now) for task in self._tasks.values() if task.is_due(now)]
            for line in lines:
                echo(line, err=True)

    def _line(self, task: _Task, now: float) -> str:
        name = self._text.replace("{task.description}", task.description)
        spent = now - task.begun
        if not task.total:
            return f"{time.strftime('%H:%M:%S')} {name}: {duration(spent)} so far"
        unit = f" {self._unit}" if self._unit else ""
        left = ""
        if task.first < task.completed < task.total:
            left = f", {duration(spent * (task.total - task.completed) / (task.completed - task.first))} left"
        share = task.completed / task.total
        return f"{time.strftime('%H:%M:%S')} {name}: {task.completed:g} of {task.total:g}{unit} ({share:.0%}){left}"


@contextmanager
def slides_listener(slides: Sequence[Path], *, quiet: bool = False) -> Iterator[Listener]:
    """Print what becomes of each slide, but for what was found where `quiet`, and show how far those at work are."""
    from wsi_idc.runs.executors.executor import Listener

    with progress_bar("{task.description}", "patches {task.fields[rate]}") as bar:
        shown: dict[int, tuple[Any, float]] = {}

        class Shown(Listener):
            """Shows how far slides are, and says what became of them."""

            def started(self, number: int) -> None:
                # A slide that crashed is begun once more.
                self.delayed(number, "")
                name = f"[{number + 1}/{len(slides)}] {printable(slides[number].name)}: finding tissue"
                shown[number] = bar.add_task(name, total=None, rate=""), time.monotonic()

            def planned(self, number: int, patches: int) -> None:
                self.delayed(number, "")
                name = f"[{number + 1}/{len(slides)}] {printable(slides[number].name)}"
                shown[number] = bar.add_task(name, total=patches, rate=""), time.monotonic()

            def advanced(self, number: int, patches: int) -> None:
                task, begun = shown[number]
                done[number] = done.get(number, 0) + patches
                speed = done[number] / max(1e-3, time.monotonic() - begun)
                bar.update(task, advance=patches, rate=f"{speed:.0f}/s")

            def delayed(self, number: int, reason: str) -> None:
                done.pop(number, None)
                if number in shown:
                    bar.remove_task(shown.pop(number)[0])

            def ended(self, number: int, outcome: SegmentResult | WsiIdcError) -> None:
                self.delayed(number, "")
                print_outcome(slides[number], outcome, quiet=quiet)

        done: dict[int, int] = {}
        yield Shown()


def print_outcome(slide: Path, outcome: SegmentResult | WsiIdcError, *, quiet: bool = False) -> None:
    """Print one line for a slide: what was found and where it is, or why it failed; and what is doubtful of it."""
    if isinstance(outcome, WsiIdcError):
        echo(f"error: {outcome}", err=True)
        return
    from wsi_idc.slides.paths.address import SlideAddress

    s, name = outcome.summary, SlideAddress.of(slide).shown
    if not quiet:
        part = "incomplete, " if s["failed_chunks"] else ""
        echo(f"{name}: {part}{_found(s)} -> {outcome.folder}{' (as before)' if outcome.reused else ''}")
    for note in [s["message"] if quiet else "", *s["warnings"]]:
        if note:
            echo(f"{name}: {note}", err=True)
    for chunk in s["failed_chunks"]:
        where = f"rows {chunk['rows']}, columns {chunk['columns']}"
        echo(f"{name}: {chunk['patches']} patches in {where} not computed: {chunk['reason']}", err=True)


def _found(summary: Mapping[str, Any]) -> str:
    """Say in half a line what was found."""
    from wsi_idc.runs.results.words import counted_foci

    s = summary
    if not s["patches"]:
        return str(s["message"])
    share = "" if s["idc_share"] is None else f" ({s['idc_share']:.0%})"
    foci = counted_foci(s["foci"])
    if s["slivers"]:
        foci += f" (and {s['slivers']} below {s['parameters']['min_area_mm2']:.2g} mm2)"
    tissue = f"{s['tissue_mm2']:.2f} mm2 tissue{share}"
    return f"IDC {s['idc_mm2']:.2f} mm2 of {tissue}, {foci}, largest {s['largest_extent_mm']:.2f} mm"


def duration(seconds: float) -> str:
    """Write a time as a person would say it, such as "2 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
