"""What is doubtful of a run: the one place where the warnings of all stages come together."""

from __future__ import annotations

from pathlib import Path

from wsi_idc.errors import ScaleError, SlideError
from wsi_idc.heatmap.stream import StreamReport
from wsi_idc.inference.familiar import Familiarity
from wsi_idc.slides.slide import Slide
from wsi_idc.tissue.glass import tissue_of
from wsi_idc.tissue.tissue import TissueMap

_BLURRED = 0.2


def warnings_of(
    slide: Slide,
    tissue: TissueMap,
    familiarity: Familiarity | None = None,
    report: StreamReport | None = None,
) -> list[str]:
    """Return the warnings of a slide, its tissue and, once patches are computed, of that, a plain sentence each.

    summary.json, the report, manifest.csv and `info` have them from here. What another stage doubts is added here.
    """
    found = [*slide.warnings, *tissue.warnings]
    if slide.mpp.estimated:
        found.append(f"the scale is an estimate from the {slide.mpp.source}; areas may be off by a tenth")
    if tissue.out_of_focus_share > _BLURRED:
        found.append(f"{tissue.out_of_focus_share:.0%} of the tissue is out of focus")
    if report and report.numberless:
        count = "1 patch" if report.numberless == 1 else f"{report.numberless} patches"
        found.append(f"the model gives no number for {count}, which count as no tissue")
    return [*found, *familiarity.warnings] if familiarity else found


def look_for_warnings(
    path: Path, mpp: float | None = None, series: int | None = None, icc: str = "ignore", threads: int = 2
) -> list[str]:
    """Find the tissue of a slide and return what a run would warn of; nothing where its scale is not known.

    What cannot be decoded is a warning too.
    """
    try:
        with Slide(path, mpp, series, icc) as slide:
            return warnings_of(slide, tissue_of(slide, threads))
    except ScaleError:
        return []
    except SlideError as error:
        return [str(error).removeprefix(f"{path}: ")]
