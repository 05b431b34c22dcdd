"""manifest.csv: what became of every slide of an output folder, kept by all the processes that write to it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from wsi_idc.errors import OutputError
from wsi_idc.runs.folder import output_error, replacing

NUMBERS = ["tissue_mm2", "idc_mm2", "idc_share", "foci", "largest_extent_mm", "patches"]
COLUMNS = ["slide", "state", "reason", "output", "seconds", *NUMBERS, "failed_chunks"]

Row = Mapping[str, object]


class Manifest:
    """The table at `path`, a row for each slide by its real path. Rows of other runs and other processes are kept.

    The state of a slide is "pending", "running", "done", "incomplete" (some patches could not be read) or "failed".
    """

    def __init__(self, path: Path) -> None:
        """Take the table at `path`; raises OutputError where something else lies there."""
        self._path = path
        self.read()

    def add(self, rows: list[Row]) -> None:
        """Add rows for slides that have none yet."""
        self._merge({str(row["slide"]): row for row in rows}, replace=False)

    def update(self, row: Row) -> None:
        """Write the row of one slide, in place of what it was."""
        self._merge({str(row["slide"]): row}, replace=True)

    def read(self) -> dict[str, Row]:
        """Return the rows as they are now, by slide; none where there is no table. Raises OutputError."""
        if not self._path.exists():
            return {}
        try:
            # Names of files need not be valid UTF-8.
            with self._path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
                reader = csv.DictReader(stream, restkey="")
                rows = list(reader)
        except (OSError, ValueError, csv.Error) as error:
            raise OutputError(f"{self._path}: cannot be read ({error}); choose another -o or move it away") from error
        if reader.fieldnames != COLUMNS or any("" in row for row in rows):
            raise OutputError(f"{self._path}: is not a manifest of this version; choose another -o or move it away")
        return {row["slide"]: row for row in rows}

    def _merge(self, rows: Mapping[str, Row], *, replace: bool) -> None:
        """Write the table with `rows` merged in, whole or not at all; one process at a time."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_name(".manifest.lock"), timeout=60), replacing(self._path) as temporary:
                held = self.read()
                merged = {**held, **rows} if replace else {**rows, **held}
                # Old rows keep their places, new ones follow.
                order = [*held, *(slide for slide in rows if slide not in held)]
                with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
                    writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(merged[slide] for slide in order)
        except OSError as error:
            raise output_error(self._path, error) from error
