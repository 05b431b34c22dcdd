"""Many slides: run each for itself, and keep a manifest of what became of them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wsi_idc.discover import output_names
from wsi_idc.errors import ModelError, SlideError, WsiIdcError
from wsi_idc.manifest import NUMBERS, Manifest
from wsi_idc.models.package import ModelPackage
from wsi_idc.models.registry import find_model
from wsi_idc.run import Runner, SegmentResult, Settings
from wsi_idc.stream import Progress

_log = logging.getLogger(__name__)

# Called before each slide with its place (from 1), the number of slides and its path; gives a `Runner.run` on_plan.
OnSlide = Callable[[int, int, Path], Callable[[int], Progress | None] | None]


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
    names = dict(zip(slides, output_names(slides), strict=True))
    rows = {s: {"slide": os.path.realpath(s), "state": "pending", "output": name} for s, name in names.items()}
    manifest = Manifest(output / "manifest.csv")
    manifest.add(list(rows.values()))
    runner = Runner(package, settings)
    outcomes: dict[Path, SegmentResult | WsiIdcError] = {}
    for number, (slide, row) in enumerate(rows.items(), 1):
        started = time.perf_counter()
        try:
            on_plan = on_slide(number, len(slides), slide) if on_slide else None
            result = runner.run(slide, output / names[slide], on_plan)
        except ModelError:
            # Every other slide would fail alike.
            raise
        except Exception as error:  # noqa: BLE001
            # Whatever one slide brings up, the other 299 are still to be done.
            outcomes[slide] = failure = _as_slide_error(slide, error)
            end: dict[str, object] = {"state": "failed", "reason": str(failure)}
            _log.debug("%s failed", slide, exc_info=error)
        else:
            outcomes[slide] = result
            summary = result.summary
            end = {"state": summary["state"], "reason": summary["message"]} | {key: summary[key] for key in NUMBERS}
            end["failed_chunks"] = len(summary["failed_chunks"])
        manifest.update(row | end | {"seconds": f"{time.perf_counter() - started:.2f}"})
        if on_done:
            on_done(slide, outcomes[slide])
    return outcomes


def _as_slide_error(slide: Path, error: Exception) -> WsiIdcError:
    if isinstance(error, WsiIdcError):
        return error
    return SlideError(
        f"{slide}: {type(error).__name__}: {error}; not foreseen, please report it with what --debug shows"
    )


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
