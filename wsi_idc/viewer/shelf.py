"""What a viewer was given to show: a run, a slide, or the folder of many runs; opened when it is looked at."""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsi_idc.errors import DataError
from wsi_idc.runs.folder_page import folder_page, key_of
from wsi_idc.runs.manifest import Manifest, Row
from wsi_idc.runs.results.folder import OUTPUTS, read_summary
from wsi_idc.runs.results.origin import check_slide, find_slide
from wsi_idc.slides.slide import Slide
from wsi_idc.viewer.live import LiveRun, is_live
from wsi_idc.viewer.opened import OpenedRun
from wsi_idc.viewer.tiles import OpenedSlide

# Of the slides that were looked at so many stay open.
_OPEN = 4
# The address of what is shown alone.
ALONE = "it"


def opened(run: Path, slide: Path | None = None) -> OpenedRun:
    """Open a run with its slide, which is looked for where `find_slide` does unless it is given; to be closed.

    Raises DataError where `run` is no folder of a run, SlideError where the slide is not found or not that of the run.
    """
    given = read_summary(run)["parameters"]
    one = Slide(slide or find_slide(run), given["mpp"], icc=given.get("icc", "ignore"))
    try:
        check_slide(run, one)
        return OpenedRun(run, one)
    except BaseException:
        one.close()
        raise


class Pool:
    """Runs and slides by keys, opened when they are used; some stay open. Threads share it."""

    # Where they are listed, on the pages of each; what lists them, where they are of one output folder.
    home: str | None = None
    manifest: Manifest | None = None

    def __init__(self) -> None:
        """Begin with none open."""
        self._lock = threading.RLock()
        self._open: OrderedDict[str, OpenedSlide] = OrderedDict()
        self._users: Counter[str] = Counter()

    def close(self) -> None:
        """Close all that is open."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].slide.close()

    def drop(self, key: str) -> None:
        """Close what is open of a key, unless it is in use."""
        with self._lock:
            if key in self._open and not self._users[key]:
                self._open.pop(key).slide.close()

    def file(self, key: str, name: str) -> Path | None:
        """Return the file of that name among the outputs of a run; None where there is none."""
        folder = self._folder(key)
        return folder / name if name in OUTPUTS and (folder / name).is_file() else None

    @contextmanager
    def using(self, key: str) -> Iterator[OpenedSlide]:
        """Give what a key is that of, open as long as it is used.

        Raises DataError where there is nothing of that key, or what opening it does.
        """
        with self._lock:
            found = self._open.get(key)
            if isinstance(found, LiveRun) and not self._users[key] and not is_live(found.folder):
                # It is done: what is left of it is another thing.
                self._open.pop(key).slide.close()
            if key not in self._open:
                self._open[key] = self._opened(key)
            found = self._open[key]
            self._users[key] += 1
            self._open.move_to_end(key)
        try:
            yield found
        finally:
            with self._lock:
                self._users[key] -= 1
                unused = [k for k in self._open if not self._users[k]]
                for old in unused[: max(0, len(self._open) - _OPEN)]:
                    self._open.pop(old).slide.close()
                self._users = +self._users

    def _folder(self, key: str) -> Path:
        """Return the folder of the run of a key; raises DataError where there is none."""
        raise NotImplementedError

    def _opened(self, key: str) -> OpenedSlide:
        """Open what a key is that of; raises DataError, SlideError."""
        raise NotImplementedError


class Shelf(Pool):
    """What `given` holds, by keys: the folder of a run, a slide without a run, an output folder."""

    def __init__(self, given: Path, slide: Path | None = None, mpp: float | None = None) -> None:
        """Look at what was given; `slide` is where that of a run is, `mpp` the scale of a slide without a run.

        Opens what is alone, and raises what opening it does: DataError, SlideError.
        """
        super().__init__()
        self.given, self._slide, self._mpp = given, slide, mpp
        is_run = (given / OUTPUTS[-1]).is_file() or is_live(given)
        listed = (given / "manifest.csv").is_file() and not is_run
        if listed:
            self.manifest, self.home = Manifest(given / "manifest.csv"), "/"
            self.rows()
        else:
            with self.using(ALONE):
                pass

    def rows(self) -> dict[str, Row]:
        """Return the rows of the manifest by key; none where something is shown alone. Raises OutputError."""
        return {key_of(row): row for row in self.manifest.read().values()} if self.manifest else {}

    def page(self) -> str:
        """Return the page that lists the slides of the folder."""
        return folder_page(self.given, self.manifest.read() if self.manifest else {}, "view", addresses=True)

    def _folder(self, key: str) -> Path:
        if key == ALONE:
            return self.given
        row = self.rows().get(key)
        if row is None:
            raise DataError(f"{self.given}: holds no such slide; go back to its list")
        return self.given / str(row["output"])

    def _opened(self, key: str) -> OpenedSlide:
        if key == ALONE and not self.manifest:
            if (self.given / OUTPUTS[-1]).is_file():
                return opened(self.given, self._slide)
            if is_live(self.given):
                return LiveRun(self.given, self._slide)
            return OpenedSlide(Slide(self.given, self._mpp))
        folder = self._folder(key)
        if (folder / OUTPUTS[-1]).is_file():
            return opened(folder)
        if is_live(folder):
            return LiveRun(folder)
        row = self.rows()[key]
        slide, why = os.fsdecode(str(row["slide"])), str(row["reason"])
        raise DataError(f"{folder}: has no results of {slide}: it is {row['state']}{why and f' ({why})'}")
