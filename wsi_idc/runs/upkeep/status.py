"""How far the runs on an output folder are, from its manifest.csv and the locks of its slides."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from wsi_idc.base.files import is_held
from wsi_idc.errors import OutputError
from wsi_idc.runs.manifest import Manifest, Row

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
    rows = manifest.read()
    if not rows:
        raise OutputError(f"{output}: no manifest.csv with slides there; give the output folder of wsi-idc segment")
    if _left(output, rows):
        time.sleep(LOOK_AGAIN_S)
        rows = manifest.read()
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


def _left(output: Path, rows: dict[str, Row]) -> list[str]:
    """Return the slides that are said to be running, but whose folder no process holds."""
    return [s for s, row in rows.items() if row["state"] == "running" and not is_held(output / str(row["output"]))]
