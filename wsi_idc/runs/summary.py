"""The numbers of a run, as summary.json holds them."""

from __future__ import annotations

import platform
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import openslide
import shapely
import zarr

from wsi_idc.grid import Grid
from wsi_idc.heatmap.stream import StreamReport
from wsi_idc.inference.engines import engine_versions
from wsi_idc.models.package import ModelPackage
from wsi_idc.regions.regions import Region, measure_slide
from wsi_idc.runs.warnings import warnings_of
from wsi_idc.slides.slide import Slide
from wsi_idc.tissue.tissue import TissueMap

RESEARCH_USE = "For research use only; not a medical device and not for diagnosis."


def summarise(
    slide: Slide,
    package: ModelPackage,
    identity: dict[str, Any],
    tissue: TissueMap,
    grid: Grid,
    regions: list[Region],
    report: StreamReport,
    probabilities: np.ndarray,
    engine: str | None,
) -> dict[str, Any]:
    """Gather what summary.json states but the timings; areas in mm2, lengths in mm, `idc_share` null without tissue."""
    state = "incomplete" if report.failed else "done"
    return {
        "state": state,
        **measure_slide(regions, tissue.tissue_mm2),
        "patches": int(np.isfinite(probabilities).sum()),
        "patch_mm2": grid.patch_mm2,
        "ink_mm2": round(tissue.ink_mm2, 4),
        "out_of_focus_share": round(tissue.out_of_focus_share, 4),
        "message": "" if tissue.tissue_mm2 else "no tissue found",
        "warnings": warnings_of(slide, tissue),
        "failed_chunks": [
            {
                "rows": [f.block.top, f.block.bottom],
                "columns": [f.block.left, f.block.right],
                "patches": f.patches,
                "reason": f.reason,
            }
            for f in report.failed
        ],
        "slide": slide.describe(),
        "model": {
            "name": package.name,
            "version": package.version,
            "sha256": package.sha256,
            "mpp": package.mpp,
            "patch_size": package.patch_size,
            "engine": engine,
        },
        "parameters": identity["parameters"],
        "identity": identity,
        "result_format": identity["result_format"],
        "versions": {"python": platform.python_version()}
        | {"wsi-idc": version("wsi-idc"), "numpy": np.__version__, "zarr": zarr.__version__}
        | {"shapely": shapely.__version__, "openslide-python": openslide.__version__}
        | engine_versions(engine),
        "note": RESEARCH_USE,
    }


def timings(times: dict[str, float], report: StreamReport) -> dict[str, float]:
    """Return seconds of wall time by stage, and of all threads together for reading and inference within `stream`."""
    names = list(times)
    stages = {f"{b}_s": times[b] - times[a] for a, b in pairwise(names)}
    stages |= {"read_threads_s": report.read_s, "infer_threads_s": report.infer_s}
    return {name: round(seconds, 3) for name, seconds in stages.items()}
