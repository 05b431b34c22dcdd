"""Who edits which run: one at a time, whole or not at all, with nothing lost when a window or the viewer is closed."""

from __future__ import annotations

import getpass
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.read import read_annotations
from wsi_idc.annotations.write import write_annotations
from wsi_idc.base.disk.left import remove_left
from wsi_idc.base.files import locked
from wsi_idc.errors import HeldError
from wsi_idc.heatmap.store import read_grid, read_provenance
from wsi_idc.runs.results.origin import check_origin
from wsi_idc.viewer.edits import Edited, History, Outlines, beginning

# Beside the outputs of a run, which are never written to.
NAME = "regions-edited.geojson"
# Held by who edits; holds what is not saved yet.
_PLACE, _DRAFT = ".editing", "draft.geojson"


def user() -> str:
    """Return the name that the system has for who is at it, "" where it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


@dataclass(slots=True)
class Session:
    """A run that is edited: its outlines step by step, and whether they are saved. `owner` is the window that may.

    `origin` is what those said of themselves that it was begun with.
    """

    folder: Path
    history: History
    owner: str
    saved: bool
    begun_with: str
    origin: dict[str, Any]
    held: ExitStack = field(repr=False)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def file(self) -> Path:
        """Where the outlines are saved."""
        return self.folder / NAME

    def do(self, owner: str, step: Callable[[Outlines], Edited]) -> Edited:
        """Take a step, and keep it as a draft. Raises DataError where it cannot be done, HeldError, OutputError."""
        with self.lock:
            self._check(owner)
            self.history = self.history.then(step(self.history.now.outlines))
            return self._kept()

    def move(self, owner: str, step: Callable[[History], History]) -> Edited:
        """Undo or redo; raises HeldError, OutputError."""
        with self.lock:
            self._check(owner)
            self.history = step(self.history)
            return self._kept()

    def choose(self, owner: str, chosen: tuple[str, ...]) -> Edited:
        """Choose regions by their ids, which is no step; raises HeldError."""
        with self.lock:
            self._check(owner)
            states, at = self.history.states, self.history.at
            now = replace(self.history.now, chosen=chosen, note="")
            self.history = History((*states[:at], now, *states[at + 1 :]), at)
            return now

    def save(self, owner: str, who: str) -> None:
        """Write the outlines beside the run, whole or not at all, and by whom; raises HeldError, OutputError."""
        with self.lock:
            self._check(owner)
            self._write(self.file, who)
            self._draft.unlink(missing_ok=True)
            self.saved = True

    @property
    def area_mm2(self) -> float:
        """The area of all outlines."""
        x, y = read_grid(self.folder / "heatmap.zarr").slide_mpp
        return sum(o.geometry.area for o in self.history.now.outlines) * x * y / 1e6

    @property
    def _draft(self) -> Path:
        return self.folder / _PLACE / _DRAFT

    def _check(self, owner: str) -> None:
        if owner != self.owner:
            raise HeldError(f"{self.folder}: another window has taken over editing; take it over again to go on here")

    def _kept(self) -> Edited:
        self.saved = False
        self._write(self._draft, user())
        return self.history.now

    def _write(self, path: Path, who: str) -> None:
        store = self.folder / "heatmap.zarr"
        x, y = read_grid(store).slide_mpp
        at = datetime.now(UTC).isoformat(timespec="seconds")
        edited = {"by": who, "at": at, "wsi_idc": version("wsi-idc"), "from": self.begun_with}
        origin = self.origin | {"edited": edited}
        named = [
            replace(o, name=f"IDC {n}", measurements={"Area mm2": round(o.geometry.area * x * y / 1e6, 6)})
            for n, o in enumerate(sorted(self.history.now.outlines, key=_largest_first), 1)
        ]
        write_annotations(path, named, origin=origin)


def _largest_first(outline: Annotation) -> tuple[Any, ...]:
    return -outline.geometry.area, outline.geometry.bounds


class Desk:
    """The runs that are edited here, by their folders; threads may share it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._sessions: dict[Path, Session] = {}

    def begin(self, folder: Path, owner: str, take_over: bool = False) -> Session:
        """Let a window edit the run in a folder: what was not saved when it was left, else saved, else found there.

        Raises HeldError where another window does, unless that is taken over, or another viewer; OutputError where
        nothing can be written beside the run, DataError where its outlines cannot be read.
        """
        with self._lock:
            session = self._sessions.get(folder)
            if session is None:
                session = self._sessions[folder] = _opened(folder, owner)
            elif session.owner and session.owner != owner and not take_over:
                raise HeldError(f"{folder}: is being edited in another window; end it there, or take it over")
            session.owner = owner
            return session

    def leave(self, owner: str) -> None:
        """Let go of what a window edits; what is not saved is kept, and others may go on with it."""
        with self._lock:
            for folder, session in list(self._sessions.items()):
                if session.owner == owner:
                    session.owner = ""
                    if session.saved:
                        self._sessions.pop(folder).held.close()

    def close(self) -> None:
        """Let go of everything; drafts stay."""
        with self._lock:
            while self._sessions:
                self._sessions.popitem()[1].held.close()


def _opened(folder: Path, owner: str) -> Session:
    held = ExitStack()
    try:
        held.enter_context(locked(folder / _PLACE))
    except HeldError as error:
        raise HeldError(f"{folder}: is being edited by another viewer; only look, or end it there ({error})") from None
    try:
        remove_left(folder / _PLACE)
        remove_left(folder, NAME)
        found = next(p for p in (folder / _PLACE / _DRAFT, folder / NAME, folder / "regions.geojson") if p.is_file())
        file = read_annotations(found)
        check_origin(found, file.origin, folder)
        # Of outlines that say nothing of themselves no model is known, but the slide that they are shown on.
        about = read_provenance(folder / "heatmap.zarr")
        origin = file.origin or {key: about[key] for key in ("slide", "slide_fingerprint")}
        first = beginning(file.annotations)
        return Session(folder, History((first,)), owner, found.name != _DRAFT, found.name, dict(origin), held)
    except BaseException:
        held.close()
        raise
