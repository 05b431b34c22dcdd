"""How far the runs on an output folder are, from its manifest.csv and the locks of its slides."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsi_idc.base.files import is_held
from wsi_idc.errors import DataError, OutputError
from wsi_idc.runs.manifest import Manifest, Row
from wsi_idc.runs.overwriting import begun_in
from wsi_idc.runs.results.folder import OUTPUTS, numbers_of, read_summary, took_s

# A slide that seems to be left may be just being opened, or just done: that is seen when one looks again so much later.
LOOK_AGAIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Status:
    """What became of the slides of an output folder so far; `failed` has each slide with its reason, `warned` those
    done, also in part, that have warnings, `in_part` those that are incomplete, and why, `not_looked_at` those done
    without a single patch, and why, `made_by` how many were done by which model and settings.

    `remaining` slides have not ended: `running` and `interrupted` ones are among them. The rates are those of one
    process, from the slides done, and `seconds_left` is what remains at that rate by the processes now at work, or by
    one; all three are None as long as nothing is done.
    """

    done: int
    incomplete: int
    warned: list[dict[str, str]]
    in_part: list[dict[str, str]]
    not_looked_at: list[dict[str, str]]
    failed: list[dict[str, str]]
    made_by: dict[str, int]
    running: int
    interrupted: int
    remaining: int
    slides_per_hour: float | None
    patches_per_s: float | None
    seconds_left: float | None


def read_status(output: Path) -> Status:
    """Read how far the runs on the folder `output` are; raises OutputError where it has no manifest.csv.

    Rows are looked at one by one: a million slides take no more memory than those that failed or have warnings.
    """
    manifest = Manifest(output / "manifest.csv")
    if (found := _count(output, manifest)).interrupted:
        time.sleep(LOOK_AGAIN_S)
        found = _count(output, manifest)
    if not found.done + found.incomplete + len(found.failed) + found.remaining:
        raise OutputError(f"{output}: no manifest.csv with slides there; give the output folder of wsi-idc segment")
    return found


def _count(output: Path, manifest: Manifest) -> Status:
    states, made_by = Counter[str](), Counter[str]()
    warned: list[dict[str, str]] = []
    in_part: list[dict[str, str]] = []
    nothing: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    left, seconds, patches = 0, 0.0, 0.0
    for _, row in up_to_date(output, manifest):
        state = str(row["state"])
        states[state] += 1
        if state == "done":
            seconds += float(str(row["seconds"]) or 0)
            patches += float(str(row["patches"]) or 0)
            if row["patches"] == "0":
                nothing.append({name: str(row[name]) for name in ("slide", "reason")})
        if state in ("done", "incomplete"):
            made_by[str(row["made_by"])] += 1
            if row["warnings"]:
                warned.append({name: str(row[name]) for name in ("slide", "warnings")})
        if state == "incomplete":
            in_part.append({name: str(row[name]) for name in ("slide", "reason")})
        elif state == "failed":
            failed.append({name: str(row[name]) for name in ("slide", "reason")})
        elif state == "running" and not is_held(output / str(row["output"])):
            left += 1
    done, running = states["done"], states["running"] - left
    remaining = states.total() - done - states["incomplete"] - states["failed"]
    known = seconds > 0
    return Status(
        done=done,
        incomplete=states["incomplete"],
        warned=warned,
        in_part=in_part,
        not_looked_at=nothing,
        failed=failed,
        made_by=dict(made_by.most_common()),
        running=running,
        interrupted=left,
        remaining=remaining,
        slides_per_hour=round(3600 * done / seconds, 2) if known else None,
        patches_per_s=round(patches / seconds, 1) if known else None,
        seconds_left=round(remaining * seconds / done / max(1, running), 1) if known else None,
    )


def up_to_date(output: Path, manifest: Manifest) -> Iterator[tuple[Row, Row]]:
    """Yield each row of the manifest, and the same with what the results of its slide say where it lags behind them.

    It does where a run was killed between the two, or could not write it. Slides that are to be overwritten have
    results, and are still to be done; so are those that are incomplete.
    """
    written, overwritten = manifest.written_s(), begun_in(output)
    try:
        # To ask for each of a million folders takes as long as to list them takes for all.
        there = set(os.listdir(output))  # noqa: PTH208
    except OSError:
        there = None
    for row in manifest.rows():
        name = str(row["output"])
        ended = row["state"] in ("done", "incomplete") or row["slide"] in overwritten
        if ended or not (there is None or name in there):
            yield row, row
        else:
            yield row, _as_its_results_say(row, output / name, written)


def _as_its_results_say(row: Row, run: Path, written: float) -> Row:
    """Return a row with what `run` holds; itself where that is not done, or is older than the row."""
    if is_held(run):
        return row
    try:
        if row["state"] == "failed" and (run / OUTPUTS[-1]).stat().st_mtime <= written:
            return row
        if (summary := read_summary(run))["state"] != "done":
            return row
        found = {"state": summary["state"], "seconds": f"{took_s(summary):.2f}"} | numbers_of(summary)
    except (OSError, DataError, KeyError, TypeError, AttributeError):
        return row
    return dict(row) | {name: "" if value is None else str(value) for name, value in found.items()}
