"""Many slides: find them, run each for itself, and keep a manifest of what became of them."""

from __future__ import annotations

import csv
import glob
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from wsi_idc.errors import DataError, ModelError, OutputError, SlideError, WsiIdcError
from wsi_idc.models.package import ModelPackage
from wsi_idc.models.registry import find_model
from wsi_idc.run import Runner, SegmentResult, Settings
from wsi_idc.stream import Progress

SUFFIXES = frozenset(
    [
        ".svs",
        ".tif",
        ".tiff",
        ".ndpi",
        ".vms",
        ".vmu",
        ".scn",
        ".mrxs",
        ".svslide",
        ".bif",
        ".dcm",
        ".czi",
        ".zvi",
    ]  # OpenSlide's and tifffile's
)
_log = logging.getLogger(__name__)
_NUMBERS = ["tissue_mm2", "idc_mm2", "idc_share", "foci", "largest_extent_mm", "patches"]
_COLUMNS = ["slide", "state", "reason", "output", "seconds", *_NUMBERS, "failed_chunks"]

# Called before each slide with its place (from 1), the number of slides and its path; gives a `Runner.run` on_plan.
OnSlide = Callable[[int, int, Path], Callable[[int], Progress | None] | None]


def find_slides(inputs: Iterable[str | Path]) -> list[Path]:
    """List the slides that files, folders and glob patterns name, each once, in order of the inputs and of name.

    A folder gives the slide files in it, by suffix, and its subfolders of DICOM files; a folder of DICOM files is one
    slide. Files given by name are taken as slides whatever their suffix. Raises DataError for an input without any.
    """
    found: dict[Path, None] = {}
    for given in inputs:
        text = str(given)
        is_pattern = glob.has_magic(text) and not Path(text).exists()
        # Not Path.glob: a pattern may be absolute.
        paths = [Path(p) for p in sorted(glob.glob(text))] if is_pattern else []  # noqa: PTH207
        paths = paths or [Path(text)]
        slides = [s for p in paths for s in (_in_folder(p) if p.is_dir() else [p])]
        if not slides:
            raise DataError(f"{text}: no slides there; slides end in {' '.join(sorted(SUFFIXES))}")
        found |= dict.fromkeys(slides)
    return list(found)


def _in_folder(folder: Path) -> list[Path]:
    if any(folder.glob("*.dcm")):
        others = [p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES - {".dcm"}]
        # Other slides beside DICOM files: then each DICOM file speaks for itself.
        return [folder] if not others else sorted([*others, *folder.glob("*.dcm")])
    slides = []
    for path in sorted(folder.iterdir()):
        is_dicom_folder = path.is_dir() and any(path.glob("*.dcm"))
        if is_dicom_folder or (path.is_file() and path.suffix.lower() in SUFFIXES):
            slides.append(path)
    return slides


def output_names(slides: Sequence[Path]) -> list[str]:
    """Name the output folder of each slide: its stem; where two share it, the stem and a hash of the path."""
    stems = [s.name if s.is_dir() else s.stem for s in slides]
    return [
        stem if stems.count(stem) == 1 else f"{stem}-{hashlib.sha256(os.fsencode(s.resolve())).hexdigest()[:8]}"
        for s, stem in zip(slides, stems, strict=True)
    ]


def segment_slides(
    slides: Sequence[Path],
    output: Path,
    package: ModelPackage,
    settings: Settings,
    on_slide: OnSlide | None = None,
    on_done: Callable[[Path, SegmentResult | WsiIdcError], None] | None = None,
) -> dict[Path, SegmentResult | WsiIdcError]:
    """Segment slides one after another into `output/<name>`, and keep `output/manifest.csv` up to date after each.

    A slide that fails is recorded with its reason and the next one is begun; only a ModelError, which all slides would
    share, is raised. Returns what became of each slide.
    """
    names = output_names(slides)
    manifest = Manifest(output / "manifest.csv")
    for slide, name in zip(slides, names, strict=True):
        manifest.rows[str(slide)] = {"slide": str(slide), "state": "pending", "output": name}
    manifest.write()
    runner = Runner(package, settings)
    outcomes: dict[Path, SegmentResult | WsiIdcError] = {}
    for number, (slide, name) in enumerate(zip(slides, names, strict=True), 1):
        started = time.perf_counter()
        row = manifest.rows[str(slide)]
        try:
            result = runner.run(slide, output / name, on_slide(number, len(slides), slide) if on_slide else None)
        except ModelError:
            # Every other slide would fail alike.
            raise
        except Exception as error:  # noqa: BLE001
            # Whatever one slide brings up, the other 299 are still to be done.
            outcomes[slide] = failure = _as_slide_error(slide, error)
            row |= {"state": "failed", "reason": str(failure)}
            _log.debug("%s failed", slide, exc_info=error)
        else:
            outcomes[slide] = result
            summary = result.summary
            row |= {key: summary[key] for key in _NUMBERS}
            row |= {"state": summary["state"], "reason": summary["message"]}
            row["failed_chunks"] = len(summary["failed_chunks"])
        row["seconds"] = f"{time.perf_counter() - started:.2f}"
        manifest.write()
        if on_done:
            on_done(slide, outcomes[slide])
    return outcomes


def _as_slide_error(slide: Path, error: Exception) -> WsiIdcError:
    if isinstance(error, WsiIdcError):
        return error
    return SlideError(
        f"{slide}: {type(error).__name__}: {error}; not foreseen, please report it with what --debug shows"
    )


class Manifest:
    """manifest.csv: a row for each slide by its path, rows of earlier runs into the same folder kept."""

    def __init__(self, path: Path) -> None:
        """Read `path` where it exists; raises OutputError where that is not a manifest."""
        self.path = path
        self.rows: dict[str, dict[str, object]] = {}
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                reader = csv.DictReader(stream)
                if reader.fieldnames != _COLUMNS:
                    raise OutputError(f"{path}: is not a manifest of this version; choose another -o or move it away")
                self.rows = {row["slide"]: dict(row) for row in reader}

    def write(self) -> None:
        """Write all rows, whole or not at all; raises OutputError where the folder cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            with temporary.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, _COLUMNS, restval="", lineterminator="\n")
                writer.writeheader()
                writer.writerows(self.rows.values())
            temporary.replace(self.path)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from error


def segment(
    slide: str | Path,
    output: str | Path = "wsi-idc-output",
    *,
    model: str | Path | None = None,
    threshold: float | None = None,
    min_area_mm2: float = 0.0,
    smooth_um: float = 0.0,
    min_tissue: float = 0.1,
    mpp: float | None = None,
    engine: str = "auto",
    overwrite: bool = False,
) -> SegmentResult:
    """Segment one slide into `output/<slide>` and return what was written; the Python form of `wsi-idc segment`.

    `model` is the name or folder of a package, the shipped one by default. `threshold` is a probability, the model's
    own by default. `mpp` (um per level-0 pixel) overrides what the slide states. Raises a `wsi_idc.WsiIdcError`.

    >>> result = wsi_idc.segment("slide.svs", "results")  # doctest: +SKIP
    >>> result.summary["idc_mm2"], result.regions  # doctest: +SKIP
    (12.84, PosixPath('results/slide/regions.geojson'))
    """
    settings = Settings(threshold, min_area_mm2, smooth_um, min_tissue, mpp, engine, overwrite)
    package = find_model(model) if model else find_model()
    outcome = segment_slides([path := Path(slide)], Path(output), package, settings)[path]
    if isinstance(outcome, WsiIdcError):
        raise outcome
    return outcome
