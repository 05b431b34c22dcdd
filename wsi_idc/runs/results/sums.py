"""Sums by which the results of a run show that they are whole: of each file, and of summary.json, where they stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wsi_idc.base.files import sha256_of

# Runs of this form of the results, and of later ones, have sums.
_SINCE = 3
NOT_AS_WRITTEN = "is not as it was written"


def sums_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of the files of these names in `folder`, and of those in folders; raises OSError."""
    files = []
    for name in names:
        path = folder / name
        files += sorted(p for p in path.rglob("*") if not p.is_dir()) if path.is_dir() else [path]
    return {file.relative_to(folder).as_posix(): sha256_of(file) for file in files if file.is_file()}


def sealed(summary: dict[str, Any], sums: dict[str, str]) -> bytes:
    """Put sums into a summary, that of itself too; return the content of summary.json.

    `timings`, which no two runs share, have a sum of their own: `wall_s` and `all_threads_s` are those of the others.
    """
    timings = summary.pop("timings")
    summary.pop("sum", None)
    summary["sums"] = sums
    summary["sum"] = _sum(summary | {"timings": timings})
    summary["timings"] = timings
    return _content(summary)


def has_sums(summary: dict[str, Any]) -> bool:
    """Say whether a summary has sums, or is to have them: those of older versions have none."""
    stated = summary.get("result_format")
    return "sum" in summary or "sums" in summary or not isinstance(stated, int) or stated >= _SINCE


def is_sealed(content: bytes, summary: dict[str, Any]) -> bool:
    """Say whether summary.json, as bytes and as they are parsed, is as it was written, to the last bit."""
    timings, sums = summary.get("timings"), summary.get("sums")
    try:
        return (
            isinstance(sums, dict)
            and isinstance(timings, dict)
            and summary.get("sum") == _sum(summary)
            and _content(summary) == content
            and _adds_up(timings)
        )
    except (TypeError, ValueError, OverflowError, RecursionError):
        return False


def _content(summary: dict[str, Any]) -> bytes:
    return (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode()


def _sum(summary: dict[str, Any]) -> str:
    """Return the sum of a summary without itself and without the numbers of its timings."""
    covered = {name: value for name, value in summary.items() if name != "sum"}
    return hashlib.sha256(_content(covered | {"timings": list(summary["timings"])})).hexdigest()


def total(timings: dict[str, float]) -> dict[str, float]:
    """Return seconds by stage, and by threads, with the sums of both."""
    threads = {stage for stage in timings if stage.endswith("_threads_s")}
    wall = sum(seconds for stage, seconds in timings.items() if stage not in threads)
    return timings | {"wall_s": round(wall, 3), "all_threads_s": round(sum(timings[name] for name in threads), 3)}


def _adds_up(timings: dict[str, Any]) -> bool:
    parts = {name: seconds for name, seconds in timings.items() if name not in ("wall_s", "all_threads_s")}
    return total(parts) == timings
