"""Figures of measurements, as PNG and SVG; the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wsi_idc.base.files import replacing

Panel = Callable[[Axes], None]


def draw_panels(path: Path, panels: Sequence[Panel], size: tuple[float, float] = (5.0, 4.4)) -> Path:
    """Draw `panels` side by side, each `size` inches, as `path` (.png) and as .svg beside it; return `path`."""
    with matplotlib.rc_context({"svg.hashsalt": "wsi-idc"}):
        figure = Figure(figsize=(size[0] * len(panels), size[1]), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw(axes)
        for file, metadata in ((path, {"Software": None}), (path.with_suffix(".svg"), {"Date": None})):
            with replacing(file) as temporary:
                figure.savefig(temporary, metadata=metadata)
    return path
