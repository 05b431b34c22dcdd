"""manifest.csv: what became of every slide of an output folder, kept by all the processes that write to it."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path

from filelock import FileLock, Timeout

from wsi_idc.base.disk.trouble import output_error
from wsi_idc.base.files import replacing, sha256_of, take
from wsi_idc.base.inputs.bounded import check_regular, open_regular, read_bytes, read_text, signature
from wsi_idc.base.inputs.rows import rows_of, sum_of
from wsi_idc.base.shown import is_number, no_formula, with_formula
from wsi_idc.errors import OutputError

_log = logging.getLogger(__name__)

_WAY_OUT = "choose another -o or move it away"
NUMBERS = ["tissue_mm2", "idc_mm2", "idc_share", "foci", "largest_extent_mm", "patches"]
COLUMNS = ["slide", "state", "reason", "output", "seconds", *NUMBERS, "failed_chunks", "made_by", "warnings"]
# Of tables that older versions wrote.
_BEFORE = [name for name in COLUMNS if name != "made_by"]
STATES = ("pending", "running", "done", "incomplete", "failed")

Row = Mapping[str, object]

# Bytes of the changes beside a table: those of some hundred thousand slides.
_LARGEST = 1 << 28
# A table of so many bytes, of some hundred slides, is written in a millisecond: at every change.
_SMALL = 64 * 1024
# A larger one when the changes beside it have come to this share of it: for each change a few rows are written,
# however many there are, and few changes have to be held in memory to read the table.
_SHARE = 0.4
# Another process has the table for the time of one writing of it. Who keeps it for longer is stuck.
_PATIENCE_S = 20.0


class Manifest:
    """The table at `path`, a row for each slide by its real path. Rows of other runs and other processes are kept.

    The state of a slide is one of `STATES`; "incomplete" says that some patches could not be read. Changes to a large
    table go to a file beside it, a line for each, and from there into the table now and then, and by `settle`; `read`
    knows both, so it gives the truth after a process was killed too.
    """

    def __init__(self, path: Path) -> None:
        """Take the table at `path`; raises OutputError where something else lies there, or a file for its folder."""
        if path.parent.exists() and not path.parent.is_dir():
            raise OutputError(f"{path.parent}: is a file, not a folder for results; {_WAY_OUT}")
        self._path = path
        self._changes = path.with_name(".manifest.changes")
        self._sum = path.with_name(".manifest.sum")
        self._lock = FileLock(path.with_name(".manifest.lock"))
        # What could not be written yet, since somebody keeps the table.
        self._late: dict[str, Row] = {}
        self._damage_said = False
        # What the table said when it was read last; a large one is seldom written.
        self._read_before: tuple[object, dict[str, Row]] = (None, {})
        next(self.rows(), None)

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows for slides that have none yet."""
        self._write({str(row["slide"]): _as_text(row) for row in rows}, {})

    def update(self, *rows: Row) -> None:
        """Write the rows of slides, in place of what they were."""
        self._write({}, {str(row["slide"]): _as_text(row) for row in rows})

    def revise(self, decide: Callable[[Mapping[str, Row]], Iterable[Row]]) -> None:
        """Write the rows that `decide` makes of those that are there, which nobody else changes meanwhile."""
        self._write({}, {}, decide)

    def settle(self) -> None:
        """Bring all changes into the table, so that it can be read for itself; says so where that cannot be."""
        self._write({}, {}, settle=True)
        if self._late:
            _log.warning(
                "%s: another process keeps it, so %d rows of it are not up to date; summary.json in the folder of "
                "each slide is, and the same command run again mends the table",
                *(self._path, len(self._late)),
            )

    def read(self) -> dict[str, Row]:
        """Return the rows as they are now, by slide; none where there is no table.

        Rows that are damaged are left out, and this is said. Raises OutputError where it is no manifest at all.
        """
        for _ in range(5):
            before = signature(self._path)
            held = self._read_held()
            if signature(self._path) == before:
                break
            # Changes were just brought into the table: what was read of them may be older than what it says.
        return held | self._late

    def rows(self) -> Iterator[Row]:
        """Yield the rows as `read` returns them, one at a time: in the memory of the changes beside the table only."""
        for _ in range(5):
            before, changes = signature(self._path), self._read_changes()
            stream = self._open_table()
            if signature(self._path) == before:
                break
        # Without a table what stands beside it says nothing.
        changes = changes | self._late if stream else dict(self._late)
        for row in self._table_rows(stream) if stream else ():
            yield changes.pop(str(row["slide"]), row)
        yield from changes.values()

    def _write(
        self,
        added: Mapping[str, Row],
        changed: Mapping[str, Row],
        decide: Callable[[Mapping[str, Row]], Iterable[Row]] | None = None,
        *,
        settle: bool = False,
    ) -> None:
        """Write rows into the table, or beside it, whole or not at all; one process at a time.

        Those `added` stand back behind what is there, those `changed`, and decided upon, take its place.
        """
        late = {**self._late, **changed}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Once somebody was stuck, each change asks only whether that is over, and the last one waits once more.
            take(self._lock, 0 if self._late and not settle else _PATIENCE_S)
            try:
                changed = late | _decided(decide, lambda: self._read_held() | late)
                if changed and not added and not settle and self._is_large():
                    self._append(changed)
                elif added or changed or (settle and self._changes.exists()):
                    self._fold(added, changed)
            finally:
                self._lock.release()
        except Timeout:
            if not self._late:
                _log.warning("%s: another process keeps it; the run goes on, and writes it later", self._path)
            held = self.read() | late
            news = {slide: row for slide, row in added.items() if slide not in held}
            self._late = news | late | _decided(decide, lambda: held)
        except OSError as error:
            raise output_error(self._path, error) from error
        else:
            self._late = {}

    def _is_large(self) -> bool:
        """Say whether a change is to go beside the table rather than into it."""
        table, changes = (path.stat().st_size if path.exists() else 0 for path in (self._path, self._changes))
        return table > _SMALL and changes < _SHARE * table

    def _append(self, rows: Mapping[str, Row]) -> None:
        # A line cut short by a kill ends where the next one begins. JSON keeps names with line ends, or not in UTF-8.
        text = "".join(f"\n{json.dumps(row)}" for row in rows.values())
        if self._changes.exists():
            check_regular(self._changes)
        with self._changes.open("a", encoding="ascii") as stream:
            stream.write(text)

    def _fold(self, added: Mapping[str, Row], changed: Mapping[str, Row]) -> None:
        """Write the table anew, with all changes. Old rows keep their places, new ones follow."""
        with replacing(self._path) as temporary:
            with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(COLUMNS)
                for row in _merged(self.rows(), dict(added), dict(changed)):
                    writer.writerow([no_formula(str(row[name])) for name in COLUMNS])
            # Before the name is given to it: killed in between, the table is the one before.
            self._note(sha256_of(temporary))
        # Killed before this, the changes are brought in once more: they say the same.
        self._changes.unlink(missing_ok=True)

    def is_as_written(self) -> bool:
        """Say whether the table is, to the last bit, as it was written; True where an older version wrote it."""
        # Another process may write it twice while one looks.
        return any(not (known := self._sums()) or sha256_of(self._path) in known for _ in range(5))

    def written_s(self) -> float:
        """Return when the table, or what stands beside it, was written last, in seconds since 1970; 0 for never."""
        return max([0.0, *(path.stat().st_mtime for path in (self._path, self._changes) if path.exists())])

    def _note(self, digest: str) -> None:
        """Keep the sum of a table that is to be named, beside that of the one that is there."""
        known, there = self._sums(), sha256_of(self._path) if self._path.exists() else ""
        with replacing(self._sum, durable=False) as temporary:
            temporary.write_text(f"{digest}\n{there if there in known or not known else ''}\n", encoding="ascii")

    def _sums(self) -> list[str]:
        try:
            return read_text(self._sum, _LARGEST, errors="replace").split()
        except FileNotFoundError:
            return []

    def _read_held(self) -> dict[str, Row]:
        """Read the table and the changes beside it, which say nothing once the table was taken away."""
        changes = self._read_changes()
        if (now := signature(self._path)) is None:
            return {}
        if self._read_before[0] != now:
            self._read_before = now, self._read_table()
        return self._read_before[1] | changes

    def _read_table(self) -> dict[str, Row]:
        stream = self._open_table()
        return {str(row["slide"]): row for row in self._table_rows(stream)} if stream else {}

    def _open_table(self) -> BufferedReader | None:
        try:
            return open_regular(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> OutputError:
        return OutputError(f"{self._path}: cannot be read ({error}); {_WAY_OUT}")

    def _table_rows(self, stream: BufferedReader) -> Iterator[Row]:
        """Yield the rows of a table, which is closed then, and say how many are damaged once all were seen."""
        lines, whole = 0, 0
        try:
            with stream:
                # As it was written to the last bit, each row of a large one need not be looked at for itself.
                sound = os.fstat(stream.fileno()).st_size > _SMALL and sum_of(stream) in self._sums()
                read = rows_of(stream)
                if (header := next(read, [])) not in (COLUMNS, _BEFORE):
                    raise OutputError(f"{self._path}: is not a manifest of this version; {_WAY_OUT}")
                older = header == _BEFORE
                for line in read:
                    lines += 1
                    if (row := _as_row([*line[:-1], "", *line[-1:]] if older else line)) and (sound or _is_whole(row)):
                        whole += 1
                        yield row
        except (OSError, csv.Error) as error:
            raise self._unreadable(error) from error
        if lines and not whole:
            raise OutputError(f"{self._path}: is not a manifest, no row of it is; {_WAY_OUT}")
        if (damaged := lines - whole) and not self._damage_said:
            self._damage_said = True
            _log.warning(
                "%s: %d of its %d rows are damaged and left out; run the same command again to have them back",
                *(self._path, damaged, lines),
            )

    def _read_changes(self) -> dict[str, Row]:
        """Read the changes beside the table; a line cut short, by a kill in the middle of it, never came to be."""
        try:
            lines = read_bytes(self._changes, _LARGEST).splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise OutputError(f"{self._changes}: cannot be read ({error.strerror})") from error
        rows: dict[str, Row] = {}
        for line in filter(None, lines):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            # Without `made_by` an older version wrote it.
            if isinstance(row, dict) and _is_whole(row := {"made_by": ""} | row):
                rows[row["slide"]] = row
        return rows


def _as_text(row: Row) -> dict[str, str]:
    """Return a row as it is read again: text in all columns."""
    return {name: "" if row.get(name) is None else str(row[name]) for name in COLUMNS}


def _decided(
    decide: Callable[[Mapping[str, Row]], Iterable[Row]] | None, held: Callable[[], Mapping[str, Row]]
) -> dict[str, Row]:
    return {str(row["slide"]): _as_text(row) for row in decide(held())} if decide else {}


def _merged(rows: Iterable[Row], added: dict[str, Row], changed: dict[str, Row]) -> Iterator[Row]:
    """Yield rows with those `changed` in their places, then new ones of those `added` and `changed`."""
    for row in rows:
        slide = str(row["slide"])
        added.pop(slide, None)
        yield changed.pop(slide, row)
    for slide, row in added.items():
        yield changed.pop(slide, row)
    yield from changed.values()


def _as_row(cells: list[str]) -> dict[str, str]:
    """Return the cells of a line by column, nothing where they are not as many."""
    if len(cells) != len(COLUMNS):
        return {}
    # Hardly a row has a mark in it: to look at each cell for one takes half of the time of a million rows.
    marked = "'" in "".join(cells)
    return dict(zip(COLUMNS, map(with_formula, cells) if marked else cells, strict=True))


def _is_whole(row: Mapping[str, object]) -> bool:
    """Say whether a row is one that was written here: text in every column, of the kind that belongs there."""
    if set(row) != set(COLUMNS) or not all(isinstance(value, str) for value in row.values()):
        return False
    slide, state, output = (str(row[name]) for name in ("slide", "state", "output"))
    # The name of a folder is one name: what was tampered with leads nowhere else.
    one_name = os.path.basename(output) == output != ".." and "\0" not in output  # noqa: PTH119
    numbers = all(is_number(str(row[name])) for name in ("seconds", *NUMBERS, "failed_chunks"))
    return bool(slide) and "\0" not in slide and (state in STATES or not state) and one_name and numbers
