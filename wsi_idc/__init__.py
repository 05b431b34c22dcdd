"""Find, outline and measure invasive ductal carcinoma on whole-slide images of breast tissue; research use only."""

from __future__ import annotations

import importlib
import os

# Not from typing, nor anything of pathlib: to import them takes as long as all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wsi_idc.api.explanation import explain, explain_evaluation
    from wsi_idc.api.notebook import show
    from wsi_idc.api.patches import evaluate, load_model, predict, train
    from wsi_idc.api.slides import compare, convert, delineate, fields, segment_slides
    from wsi_idc.errors import WsiIdcError
    from wsi_idc.heatmap.store import read_heatmap
    from wsi_idc.models.registry import find_model, list_models
    from wsi_idc.runs.batch import segment
    from wsi_idc.runs.settings import SegmentResult, Settings
    from wsi_idc.slides.paths.find import find_slides
    from wsi_idc.slides.slide import Slide

    __version__: str

# In a checkout `cli` and `models` lie beside this folder, not in it; an installed package has them inside.
_HERE = os.path.dirname(__file__)  # noqa: PTH120
if not os.path.isdir(os.path.join(_HERE, "cli")):  # noqa: PTH112, PTH118
    __path__.append(os.path.dirname(_HERE))  # noqa: PTH120

# Loaded when first asked for: `import wsi_idc` and `wsi-idc --help` stay light.
_HOME = {
    "SegmentResult": "wsi_idc.runs.settings",
    "Settings": "wsi_idc.runs.settings",
    "Slide": "wsi_idc.slides.slide",
    "WsiIdcError": "wsi_idc.errors",
    "compare": "wsi_idc.api.slides",
    "convert": "wsi_idc.api.slides",
    "delineate": "wsi_idc.api.slides",
    "evaluate": "wsi_idc.api.patches",
    "explain": "wsi_idc.api.explanation",
    "explain_evaluation": "wsi_idc.api.explanation",
    "fields": "wsi_idc.api.slides",
    "find_model": "wsi_idc.models.registry",
    "find_slides": "wsi_idc.slides.paths.find",
    "list_models": "wsi_idc.models.registry",
    "load_model": "wsi_idc.api.patches",
    "predict": "wsi_idc.api.patches",
    "read_heatmap": "wsi_idc.heatmap.store",
    "segment": "wsi_idc.runs.batch",
    "segment_slides": "wsi_idc.api.slides",
    "show": "wsi_idc.api.notebook",
    "train": "wsi_idc.api.patches",
}

__all__ = [
    "SegmentResult",
    "Settings",
    "Slide",
    "WsiIdcError",
    "__version__",
    "compare",
    "convert",
    "delineate",
    "evaluate",
    "explain",
    "explain_evaluation",
    "fields",
    "find_model",
    "find_slides",
    "list_models",
    "load_model",
    "predict",
    "read_heatmap",
    "segment",
    "segment_slides",
    "show",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("wsi-idc")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # What this module needs itself is nothing to be found here.
    return sorted({*(name for name in globals() if name.startswith("__")), *__all__})
