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

from wsi_idc.heatmap.stream import StreamReport
from wsi_idc.inference.engines import engine_versions
from wsi_idc.regions.regions import measure_slide
from wsi_idc.runs.results.sums import total
from wsi_idc.runs.results.warnings import warnings_of
from wsi_idc.runs.results.words import more_than_tissue, nothing_looked_at
from wsi_idc.runs.work import Work

RESEARCH_USE = "For research use only; not a medical device and not for diagnosis."


def summarise(work: Work) -> dict[str, Any]:
    """Gather what summary.json states but the timings; areas in mm2, lengths in mm, `idc_share` null without tissue."""
    slide, package, identity, tissue, report = work.slide, work.package, work.identity, work.tissue, work.report
    state, computed = "incomplete" if report.failed else "done", int(np.isfinite(work.probabilities).sum())
    numbers = measure_slide(work.found.regions, work.found.slivers, tissue.tissue_mm2, computed)
    beyond = more_than_tissue(numbers, work.grid)
    return {
        "state": state,
        **numbers,
        "patches": computed,
        "patch_mm2": work.grid.patch_mm2,
        "ink_mm2": round(tissue.ink_mm2, 4),
        "out_of_focus_share": round(tissue.out_of_focus_share, 4),
        "message": "" if computed else nothing_looked_at(tissue.tissue_mm2),
        "warnings": warnings_of(slide, tissue, work.familiarity, report) + beyond,
        "familiarity": work.familiarity and {"pixels": work.familiarity.pixels, "features": work.familiarity.features},
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
            "engine": work.engine,
        },
        "parameters": identity["parameters"],
        "identity": identity,
        "result_format": identity["result_format"],
        "versions": {"python": platform.python_version()}
        | {"wsi-idc": version("wsi-idc"), "numpy": np.__version__, "zarr": zarr.__version__}
        | {"shapely": shapely.__version__, "openslide-python": openslide.__version__}
        | engine_versions(work.engine),
        "note": RESEARCH_USE,
    }


def timings(times: dict[str, float], report: StreamReport) -> dict[str, float]:
    """Return seconds of wall time by stage, and of all threads together for reading and inference within `stream`."""
    names = list(times)
    stages = {f"{b}_s": times[b] - times[a] for a, b in pairwise(names)}
    stages |= {"read_threads_s": report.read_s, "infer_threads_s": report.infer_s}
    return total({name: round(seconds, 3) for name, seconds in stages.items()})
