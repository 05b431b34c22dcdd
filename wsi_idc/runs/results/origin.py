"""Whether outlines and slide belong together: a run knows the content of its slide by a fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsi_idc.errors import DataError, OutputError, SlideError
from wsi_idc.heatmap.store import read_provenance
from wsi_idc.runs.manifest import Manifest
from wsi_idc.runs.results.folder import OUTPUTS, read_summary
from wsi_idc.runs.results.identity import shown
from wsi_idc.slides.paths.address import SlideAddress
from wsi_idc.slides.paths.find import dicom_series
from wsi_idc.slides.slide import Slide

_APART = "move it away to begin anew"


def run_of(outlines: Path) -> Path | None:
    """Return the folder of the run that outlines are, or are the regions of; None for any other file."""
    folder = outlines.parent if outlines.name == "regions.geojson" else outlines
    return folder if (folder / OUTPUTS[-1]).is_file() else None


def find_slide(run: Path) -> Path:
    """Look for the slide of a run beside its folder or in it, then where the manifest says that it was.

    Raises DataError where `run` is no folder of a run, SlideError where the slide is not found.
    """
    name, run = read_summary(run)["slide"]["slide"], run.resolve()
    try:
        rows = Manifest(run.parent / "manifest.csv").read().values()
    except OutputError as error:
        raise SlideError(f"{run}: cannot look up its slide {name} ({error}); give its place with --slide") from error
    listed = [Path(str(row["slide"])) for row in rows if row["output"] == run.name]
    for path in (run.parent / name, run / name, *listed):
        if SlideAddress.of(path).file.exists():
            return path
    raise SlideError(f"{run}: its slide {name} is neither beside it nor where it was; give its place with --slide")


def origin_of(provenance: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what outlines say they were made of, from the provenance of a heatmap.

    `parameters` are those by which they differ from the run.
    """
    keys = ("slide", "slide_fingerprint", "model", "model_sha256")
    said = {key: provenance[key] for key in keys if key in provenance}
    return said | {"parameters": dict(provenance["parameters"]) | dict(parameters or {})}


def check_origin(file: Path, said: Mapping[str, Any], run: Path, *, settings: bool = False) -> None:
    """Raise DataError where what is kept beside a run says that it was made of another one: that was made anew since.

    Its slide, model and given scale have to be those of the run, and with `settings` everything that was asked for.
    What is not said of outlines made elsewhere may be anything.
    """
    now = origin_of(read_provenance(run / "heatmap.zarr"))
    check_same_slide(file, said, run, now, _APART)
    if said.get("model_sha256") not in (None, now["model_sha256"]):
        raise DataError(f"{file}: is of a run by {said.get('model')}, and {run} is by {now['model']} now; {_APART}")
    if not isinstance(asked := said.get("parameters"), Mapping):
        return
    for name in [*now["parameters"]] if settings else ["mpp"]:
        before, given = asked.get(name), now["parameters"].get(name)
        if before != given:
            raise DataError(
                f"{file}: is of a run with {name} {shown(before)}, and {run} has {name} {shown(given)} now; {_APART}"
            )


def check_slide(outlines: Path, slide: Slide, origin: Mapping[str, Any] | None = None) -> None:
    """Raise SlideError where outlines are those of a run on another slide than `slide`, or say so by their `origin`.

    Outlines that are no run and say nothing, and runs that state no fingerprint, may be of any slide. Raises DataError
    where summary.json cannot be read: which slide it was is then not known.
    """
    said = origin or {}
    drawn_on = said.get("slide_fingerprint")
    if drawn_on and drawn_on not in (slide.fingerprint, *_others(slide.path)):
        name = f" ({said['slide']})" if said.get("slide") else ""
        raise SlideError(
            f"{slide.path}: is not the slide that {outlines} was drawn on{name}; give that one, or outlines of its own"
        )
    run = run_of(outlines)
    if run is None:
        return
    stated = read_summary(run)["identity"].get("slide_fingerprint")
    if stated and stated not in (slide.fingerprint, *_others(slide.path)):
        raise SlideError(
            f"{slide.path}: is not the slide that {run} was made from; give that one, or outlines of its own"
        )


def stated_slide(outlines: Path, origin: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `slide` and `slide_fingerprint` as outlines say by their `origin`, else as the run they are of has it.

    Of outlines that are no run and say nothing, that is nothing. Raises DataError where summary.json cannot be read.
    """
    run = run_of(outlines)
    if run is None or origin.get("slide_fingerprint"):
        return origin
    summary = read_summary(run)
    return {"slide": summary["slide"]["slide"], "slide_fingerprint": summary["identity"].get("slide_fingerprint")}


def check_same_slide(one: Path, its: Mapping[str, Any], other: Path, theirs: Mapping[str, Any], way_out: str) -> None:
    """Raise DataError, which ends in `way_out`, where two things say of which slide they are, and it is not the same.

    `its` and `theirs` hold `slide` and `slide_fingerprint`, as `stated_slide` and the provenance of a heatmap do.
    """
    of_one, of_other = its.get("slide_fingerprint"), theirs.get("slide_fingerprint")
    if of_one and of_other and of_one != of_other:
        first, second = (f" ({said['slide']})" if said.get("slide") else "" for said in (its, theirs))
        raise DataError(f"{one}: is of another slide{first} than {other}{second}; {way_out}")


def _others(path: Path) -> list[str]:
    """Return the fingerprints that the same DICOM slide has when it is given as its folder, or as a file of it."""
    if path.is_dir():
        names = [files[0] for files in dicom_series(path)]
    else:
        names = [path.parent] if path.suffix.lower() == ".dcm" and len(dicom_series(path.parent)) == 1 else []
    found = []
    for name in names:
        with Slide(name, 1.0) as other:
            found.append(other.fingerprint)
    return found
