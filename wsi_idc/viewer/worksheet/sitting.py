"""An observer at the worksheet of a run: step by step, kept as a draft, saved whole; one window at a time."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from wsi_idc.base.files import locked, replacing
from wsi_idc.errors import DataError, HeldError, SettingsError
from wsi_idc.grading.chosen import area_mm2, begin, next_best, nuclei_of
from wsi_idc.grading.record import JSON, Record, now, person, read_record, to_document, write_record
from wsi_idc.grading.worksheet import Step, Worksheet, measured, put_instead
from wsi_idc.slides.slide import Slide

# Beside the outputs of a run: a folder for each observer, in it one for each time that was saved.
WORKSHEETS = "worksheets"
_DRAFT = "draft.json"
_STEPS = 500


@dataclass(slots=True)
class Sitting:
    """What an observer judges of the run in a folder. `owner` is the window that may; threads may share it."""

    run: Path
    observer: str
    owner: str
    states: list[Worksheet]
    saved_as: Path | None
    is_saved: bool
    held: ExitStack = field(repr=False)
    at: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def now(self) -> Worksheet:
        """The worksheet as it is."""
        return self.states[self.at]

    @property
    def folder(self) -> Path:
        """Where what the observer saved lies."""
        return folder_of(self.run, self.observer)

    def do(self, owner: str, step: Step) -> Worksheet:
        """Take a step, and keep it as a draft; raises DataError where it cannot be, HeldError, OutputError."""
        with self.lock:
            self._check(owner)
            self.states = [*self.states[: self.at + 1], step(self.now)][-_STEPS:]
            self.at = len(self.states) - 1
            return self._kept()

    def undo(self, owner: str) -> Worksheet:
        """Take a step back; raises HeldError, OutputError."""
        return self._go(owner, -1)

    def redo(self, owner: str) -> Worksheet:
        """Take a step again that was taken back; raises HeldError, OutputError."""
        return self._go(owner, 1)

    def replace(self, owner: str, slide: Slide, number: int) -> Worksheet:
        """Refuse a field and take the next best one in its place; raises DataError, SlideError, HeldError."""
        place = next_best(self.run, slide, self.now)
        return self.do(owner, lambda sheet: put_instead(sheet, number, place, area_mm2(place, slide)))

    def measure(self, slide: Slide, number: int) -> Worksheet:
        """Measure the nuclei of a field where that is not done; it is no step. Raises SlideError."""
        one = self.now.of(number)
        nuclei = None if one.nuclei else nuclei_of(slide, one)
        if nuclei is not None:
            with self.lock:
                self.states = [
                    measured(s, number, (one.x, one.y), nuclei) if any(f.number == number for f in s.fields) else s
                    for s in self.states
                ]
        return self.now

    def save(self, owner: str, slide: Slide) -> Path:
        """Write the worksheet to a new folder, whole or not at all, over nothing.

        Raises HeldError, OutputError, and SlideError where the slide is not what it was.
        """
        with self.lock:
            self._check(owner)
            slide.check_unchanged()
            record = Record(self.now, self.observer, now())
            name = re.sub(r"[^0-9]", "", record.saved[:19])
            taken = [p.name for p in self.folder.iterdir()]
            count = next(n for n in range(1, 1000) if f"{name}-{n}" not in taken)
            write_record(record, self.folder / f"{name}-{count}")
            (self.folder / _DRAFT).unlink(missing_ok=True)
            self.saved_as, self.is_saved = self.folder / f"{name}-{count}", True
            return self.saved_as

    def _go(self, owner: str, way: int) -> Worksheet:
        with self.lock:
            self._check(owner)
            if not 0 <= self.at + way < len(self.states):
                return self.now
            self.at += way
            return self._kept()

    def _check(self, owner: str) -> None:
        if owner != self.owner:
            raise HeldError(f"{self.folder}: another window has taken over this worksheet")

    def _kept(self) -> Worksheet:
        self.is_saved = False
        document = to_document(Record(self.now, self.observer, now()))
        with replacing(self.folder / _DRAFT, durable=False) as temporary:
            temporary.write_text(json.dumps(document), encoding="utf-8")
        return self.now


def folder_of(run: Path, observer: str) -> Path:
    """Return the folder of an observer's worksheets; names that a folder cannot have get a sum at their end.

    Raises SettingsError where no name is given.
    """
    name = " ".join(observer.split())
    if not name:
        raise SettingsError("a worksheet needs the name of its observer")
    # One folder for all ways to write a name, but where one lies by the name as it is given.
    as_given = run / WORKSHEETS / _folder_name(name)
    return as_given if as_given.is_dir() else run / WORKSHEETS / _folder_name(person(name))


def _folder_name(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


class Bench:
    """The sittings that are open here; threads may share it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._sittings: dict[Path, Sitting] = {}

    def begin(self, run: Path, slide: Slide, observer: str, owner: str, take_over: bool = False) -> Sitting:
        """Let a window go on with what an observer did not save, else with what was saved last, else begin.

        Raises HeldError where another window or viewer is at it, unless that window is taken over; DataError where no
        fields were chosen or what is there cannot be read, SettingsError without a name, OutputError.
        """
        name = " ".join(observer.split())
        folder = folder_of(run, name)
        with self._lock:
            sitting = self._sittings.get(folder)
            if sitting is None:
                sitting = self._sittings[folder] = _opened(run, slide, name, owner)
            elif sitting.owner and sitting.owner != owner and not take_over:
                raise HeldError(f"{folder}: is open in another window; end it there, or take it over")
            sitting.owner = owner
            return sitting

    def leave(self, owner: str) -> None:
        """Let go of what a window is at; what is not saved is kept as a draft."""
        with self._lock:
            for folder, sitting in list(self._sittings.items()):
                if sitting.owner == owner:
                    self._sittings.pop(folder).held.close()

    def close(self) -> None:
        """Let go of everything; drafts stay."""
        with self._lock:
            while self._sittings:
                self._sittings.popitem()[1].held.close()


def _opened(run: Path, slide: Slide, observer: str, owner: str) -> Sitting:
    folder, held = folder_of(run, observer), ExitStack()
    # Before a folder is made for nothing.
    first = begin(run, slide)
    try:
        held.enter_context(locked(folder))
    except HeldError as error:
        raise HeldError(f"{folder}: is open in another viewer; end it there ({error})") from None
    try:
        draft = folder / _DRAFT
        saved = sorted(p for p in folder.iterdir() if (p / JSON).is_file())
        source = draft if draft.is_file() else saved[-1] if saved else None
        if source:
            record = read_record(source)
            if other := record.sheet.basis.unlike(first.basis):
                raise DataError(f"{source}: is of {other} than {run} is now; move it away to begin anew")
            first = record.sheet
        kept = saved[-1] if saved else None
        return Sitting(run, observer, owner, [first], kept, source is not None and source != draft, held)
    except BaseException:
        held.close()
        raise
