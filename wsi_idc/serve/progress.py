"""How far a job is, as the log of its run has it."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any

from wsi_idc.runs.log import NAME
from wsi_idc.serve.place import Place

# Of a log the end is read, which is of the run that is under way.
_END = 1 << 16


def progress_of(place: Place) -> dict[str, Any]:
    """Return what a job does, which share of the patches is done, and the seconds left, None where not known."""
    if place.slide() is None:
        return _said("looking at what was sent")
    wanted: int | None = None
    done: list[tuple[float, int]] = []
    for line in _lines(place):
        stage = line.get("stage")
        if stage == "run begun":
            wanted, done = None, []
        elif stage == "tissue found":
            wanted, done = int(line["patches"]), [(_time(line), 0)]
        elif stage == "computing":
            done.append((_time(line), int(line["patches"])))
    if wanted is None:
        return _said("finding tissue")
    share = done[-1][1] / wanted if wanted else 0.0
    return _said("computing", min(share, 1.0), _left(done, wanted))


def _said(stage: str, share: float | None = None, seconds_left: float | None = None) -> dict[str, Any]:
    return {"stage": stage, "share": share, "seconds_left": seconds_left}


def _left(done: list[tuple[float, int]], wanted: int) -> float | None:
    """Return the seconds left at the rate so far; what a run found done already, it tells at once."""
    known = done[1:] if len(done) > 2 else done
    (begun, first), (now, last) = known[0], known[-1]
    return round((wanted - last) * (now - begun) / (last - first), 1) if last > first else None


def _lines(place: Place) -> list[dict[str, Any]]:
    try:
        with (place.output / NAME).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _END))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            # The first one is cut.
            continue
    return [line for line in found if isinstance(line, dict)]


def _time(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()
