"""What a run with --overwrite has still to do: one that is interrupted and begun again goes on with what is left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from wsi_idc.base.inputs.documents import read_json
from wsi_idc.models.package import ModelPackage
from wsi_idc.runs.results.folder import replacing
from wsi_idc.runs.settings import Settings

_NAME = ".overwriting"
# Bytes of the names of all slides of a run.
_LARGEST = 1 << 26


class Overwriting:
    """The slides, by real path, that runs of one model and its settings began to overwrite and did not all end.

    Kept in the output folder. A run of other settings begins its own.
    """

    def __init__(self, output: Path, package: ModelPackage, settings: Settings) -> None:
        """Read what was begun before under `output` with this very model and these settings."""
        self._file = output / _NAME
        facts = {"model_sha256": package.sha256, "parameters": settings.parameters(package)}
        self._key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def begun(self) -> set[str]:
        """Return the slides that such a run began with; none where all of them ended."""
        return begun_in(self._file.parent, self._key)

    def begin(self, slides: Iterable[str]) -> None:
        """Keep that these slides are to be overwritten."""
        self._write(self.begun() | set(slides))

    def end(self, slides: Iterable[str]) -> None:
        """Keep that these slides have ended, well or not."""
        if begun := self.begun():
            self._write(begun - set(slides))

    def _write(self, slides: set[str]) -> None:
        if not slides:
            self._file.unlink(missing_ok=True)
            return
        with replacing(self._file) as temporary:
            temporary.write_text(json.dumps({"key": self._key, "slides": sorted(slides)}), encoding="ascii")


def begun_in(output: Path, key: str | None = None) -> set[str]:
    """Return the slides that runs began to overwrite under `output` and did not all end, those of one key or any."""
    try:
        held = read_json(output / _NAME, _LARGEST)
        return set(map(str, held["slides"])) if key in (None, held["key"]) else set()
    except (OSError, ValueError, TypeError, KeyError):
        # Damaged, it costs that all are computed again.
        return set()
