"""Find, outline and measure invasive ductal carcinoma on whole-slide images of breast tissue; research use only."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsi_idc.batch import segment, segment_slides
    from wsi_idc.discover import find_slides
    from wsi_idc.errors import WsiIdcError
    from wsi_idc.heatmap import read_heatmap
    from wsi_idc.models.registry import find_model, list_models
    from wsi_idc.settings import SegmentResult, Settings
    from wsi_idc.slide import Slide

# Loaded when first asked for: `import wsi_idc` and `wsi-idc --help` stay light.
_HOME = {
    "SegmentResult": "wsi_idc.settings",
    "Settings": "wsi_idc.settings",
    "Slide": "wsi_idc.slide",
    "WsiIdcError": "wsi_idc.errors",
    "find_model": "wsi_idc.models.registry",
    "find_slides": "wsi_idc.discover",
    "list_models": "wsi_idc.models.registry",
    "read_heatmap": "wsi_idc.heatmap",
    "segment": "wsi_idc.batch",
    "segment_slides": "wsi_idc.batch",
}

__all__ = [
    "SegmentResult",
    "Settings",
    "Slide",
    "WsiIdcError",
    "find_model",
    "find_slides",
    "list_models",
    "read_heatmap",
    "segment",
    "segment_slides",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
