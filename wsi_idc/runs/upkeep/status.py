"""How far the runs on an output folder are, from its manifest.csv and the locks of its slides."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from wsi_idc.base.files import is_held
from wsi_idc.errors import DataError, OutputError
from wsi_idc.runs.manifest import Manifest, Row, numbers_of, took_s
from wsi_idc.runs.overwriting import begun_in
from wsi_idc.runs.results.folder import OUTPUTS, read_summary

# A slide that seems to be left may be just being opened, or just done: that is seen when one looks again so much later.
LOOK_AGAIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Status:
    """What became of the slides of an output folder so far; `failed` has each slide with its reason, `warned` those
    done, also in part, that have warnings.

    `remaining` slides have not ended: `running` and `interrupted` ones are among them. The rates are those of one
    process, from the slides done, and `seconds_left` is what remains at that rate by the processes now at work, or by
    one; all three are None as long as nothing is done.
    """

    done: int
    incomplete: int
    warned: list[dict[str, str]]
    failed: list[dict[str, str]]
    running: int
    interrupted: int
    remaining: int
    slides_per_hour: float | None
    patches_per_s: float | None
    seconds_left: float | None


def read_status(output: Path) -> Status:
    """Read how far the runs on the folder `output` are; raises OutputError where it has no manifest.csv."""
    manifest = Manifest(output / "manifest.csv")
    rows = up_to_date(output, manifest)
    if not rows:
        raise OutputError(f"{output}: no manifest.csv with slides there; give the output folder of wsi-idc segment")
    if _left(output, rows):
        time.sleep(LOOK_AGAIN_S)
        rows = up_to_date(output, manifest)
    left = len(_left(output, rows))
    by_state: dict[str, list[Row]] = {}
    for row in rows.values():
        by_state.setdefault(str(row["state"]), []).append(row)
    done, incomplete, failed = (by_state.get(state, []) for state in ("done", "incomplete", "failed"))
    remaining = len(rows) - len(done) - len(incomplete) - len(failed)
    running = len(by_state.get("running", [])) - left
    seconds, patches = (sum(float(str(row[key]) or 0) for row in done) for key in ("seconds", "patches"))
    known = seconds > 0
    return Status(
        done=len(done),
        incomplete=len(incomplete),
        warned=[
            {name: str(row[name]) for name in ("slide", "warnings")} for row in done + incomplete if row["warnings"]
        ],
        failed=[{"slide": str(row["slide"]), "reason": str(row["reason"])} for row in failed],
        running=running,
        interrupted=left,
        remaining=remaining,
        slides_per_hour=round(3600 * len(done) / seconds, 2) if known else None,
        patches_per_s=round(patches / seconds, 1) if known else None,
        seconds_left=round(remaining * seconds / len(done) / max(1, running), 1) if known else None,
    )


def up_to_date(output: Path, manifest: Manifest) -> dict[str, Row]:
    """Return the rows of the manifest with what the results of slides say where it lags behind them.

    It does where a run was killed between the two, or could not write it. Slides that are to be overwritten have
    results, and are still to be done; so are those that are incomplete.
    """
    rows, written, overwritten = manifest.read(), manifest.written_s(), begun_in(output)
    for slide, row in rows.items():
        run = output / str(row["output"])
        if row["state"] in ("done", "incomplete") or slide in overwritten or is_held(run):
            continue
        try:
            if row["state"] == "failed" and (run / OUTPUTS[-1]).stat().st_mtime <= written:
                continue
            if (summary := read_summary(run))["state"] != "done":
                continue
            found = {"state": summary["state"], "seconds": f"{took_s(summary):.2f}"} | numbers_of(summary)
        except (OSError, DataError, KeyError, TypeError, AttributeError):
            continue
        rows[slide] = dict(row) | {name: "" if value is None else str(value) for name, value in found.items()}
    return rows


def _left(output: Path, rows: dict[str, Row]) -> list[str]:
    """Return the slides that are said to be running, but whose folder no process holds."""
    return [s for s, row in rows.items() if row["state"] == "running" and not is_held(output / str(row["output"]))]
