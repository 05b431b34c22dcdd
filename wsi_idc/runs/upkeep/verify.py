"""Whether the results of runs are whole: each file beside the sum that stands in summary.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsi_idc.base.files import HOLDER, LOCK, is_held
from wsi_idc.base.inputs.bounded import read_bytes
from wsi_idc.base.inputs.documents import parse_json
from wsi_idc.errors import OutputError
from wsi_idc.runs import folder_page
from wsi_idc.runs.manifest import Manifest, Row
from wsi_idc.runs.results.folder import LARGEST, OUTPUTS, PARTIAL, SUMMED, numbers_of
from wsi_idc.runs.results.sums import NOT_AS_WRITTEN, has_sums, is_sealed, sums_of

WHOLE, DAMAGED, NO_SUMS, BUSY = "whole", "damaged", "no sums", "being written"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of the results in one folder: one of `WHOLE`, `DAMAGED`, `NO_SUMS` and `BUSY`.

    `faults` are lines that name the file; `extra` are names in the folder that are no results.
    """

    folder: Path
    state: str
    faults: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class VerifiedFolder:
    """What was found of the runs in an output folder, and of its manifest.csv and index.html."""

    runs: list[Verified]
    faults: list[str]

    @property
    def whole(self) -> bool:
        """Say whether nothing is wrong, as far as there are sums."""
        return not self.faults and all(run.state != DAMAGED for run in self.runs)


def verify(output: Path) -> VerifiedFolder:
    """Look at every file of the runs in the output folder of `segment`, or of the one run that `output` is.

    A slide without results, since it is still to be done or failed, is none of the runs. Changes nothing. Raises
    OutputError where there are no runs.
    """
    if (output / OUTPUTS[-1]).exists() and not (output / "manifest.csv").exists():
        return VerifiedFolder([verify_run(output)], [])
    faults: list[str] = []
    rows = _rows(output, faults)
    done = {str(row["output"]): row for row in rows if row["state"] in ("done", "incomplete")}
    try:
        names = sorted(p.name for p in output.iterdir() if _is_run(p))
    except OSError as error:
        raise OutputError(f"{output}: cannot be read ({error.strerror})") from error
    runs = [verify_run(output / name, done.get(name)) for name in sorted({*names, *done})]
    if not runs and not rows and not faults:
        raise OutputError(f"{output}: no run and no manifest.csv there; give the output folder of wsi-idc segment")
    return VerifiedFolder(runs, faults + _of_page(output / folder_page.NAME))


def verify_run(run: Path, row: Row | None = None) -> Verified:
    """Look at every file of one run, and whether its row of the manifest says what summary.json does."""
    if is_held(run):
        return Verified(run, BUSY)
    if (run / PARTIAL / OUTPUTS[-1]).exists():
        return Verified(
            run, DAMAGED, [f"{run}: killed while its results were put in place; run the same command again"]
        )
    if not (run / OUTPUTS[-1]).is_file():
        return Verified(run, DAMAGED, [f"{run / OUTPUTS[-1]}: is missing"])
    try:
        content = read_bytes(run / OUTPUTS[-1], LARGEST)
        extra = sorted(p.name for p in run.iterdir() if p.name not in (*OUTPUTS, LOCK, HOLDER))
    except OSError as error:
        return Verified(run, DAMAGED, [f"{run / OUTPUTS[-1]}: {_why(error)}"])
    try:
        summary = parse_json(content)
    except ValueError:
        summary = None
    if not isinstance(summary, dict) or (has_sums(summary) and not is_sealed(content, summary)):
        return Verified(run, DAMAGED, [f"{run / OUTPUTS[-1]}: {NOT_AS_WRITTEN}"], extra)
    faults = _of_row(run, summary, row) if row else []
    if not has_sums(summary):
        faults += [f"{run / name}: is missing" for name in OUTPUTS if not (run / name).exists()]
        return Verified(run, DAMAGED if faults else NO_SUMS, faults, extra)
    faults += _of_files(run, summary["sums"])
    return Verified(run, DAMAGED if faults else WHOLE, faults, extra)


def _rows(output: Path, faults: list[str]) -> list[Row]:
    """Return the rows of the manifest; none where there is none, or it is damaged, which is a fault."""
    path = output / "manifest.csv"
    if not path.exists():
        return []
    try:
        manifest = Manifest(path)
        if not manifest.is_as_written():
            faults.append(f"{path}: {NOT_AS_WRITTEN}")
        return list(manifest.read().values())
    except OutputError as error:
        faults.append(str(error))
    except OSError as error:
        faults.append(f"{path}: {_why(error)}")
    return []


def _of_page(page: Path) -> list[str]:
    try:
        return [] if not page.is_file() or folder_page.is_as_written(page) else [f"{page}: {NOT_AS_WRITTEN}"]
    except OSError as error:
        return [f"{page}: {_why(error)}"]


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in OUTPUTS) or (folder / PARTIAL / OUTPUTS[-1]).exists()


def _of_files(run: Path, known: Mapping[str, Any]) -> list[str]:
    """Say which files are not those of which the sums are known. What was put beside them is none of the run."""
    try:
        found = sums_of(run, SUMMED)
    except OSError as error:
        return [f"{error.filename or run}: {_why(error)}"]
    missing = [f"{run / name}: is missing" for name in known if name not in found]
    return missing + [
        f"{run / name}: {NOT_AS_WRITTEN}" for name in known if found.get(name, known[name]) != known[name]
    ]


def _of_row(run: Path, summary: dict[str, Any], row: Row) -> list[str]:
    """Say where a row of the manifest is not what summary.json says."""
    try:
        stated = {"state": summary["state"]} | numbers_of(summary)
    except (KeyError, TypeError, AttributeError):
        return [f"{run / OUTPUTS[-1]}: {NOT_AS_WRITTEN}"]
    said = {name: "" if value is None else str(value) for name, value in stated.items()}
    # A later run may have more to say of a slide. Who made its results older versions did not say, nor why it is
    # incomplete.
    more = {"reason": str(row["reason"]), "warnings": str(row["warnings"])}
    said |= {name: value for name, value in more.items() if value.startswith(said[name])}
    others = [n for n, value in said.items() if row[n] != value and (row[n] or n not in ("made_by", "reason"))]
    return [f"{run.parent / 'manifest.csv'}: {', '.join(others)} of {run.name}: not as in its summary.json"] * bool(
        others
    )


def _why(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error})"
