"""Results in napari, which finds this by `napari.yaml`: each layer at its place, in micrometres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from wsi_idc.api.layers import Layer, read_layers
from wsi_idc.base.pages.colours import IDC
from wsi_idc.errors import DataError
from wsi_idc.heatmap.store import read_provenance

# What napari takes for a layer: the data, how to show it, its kind.
LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """Return what reads the heatmap of a run, `heatmap.zarr`; None, as napari wants it, for anything else."""
    if not isinstance(path, str):
        return None
    try:
        read_provenance(Path(path))
    except DataError:
        return None
    return _read


def _read(path: str) -> list[LayerData]:
    """Return the layers of a run from the bottom up; without slide or regions where these are not beside it."""
    found = read_layers(Path(path))
    labels = {label.name: label for label in found.labels}
    heat = {
        "colormap": "inferno",
        "contrast_limits": (0.0, 1.0),
        "opacity": 0.5,
        "metadata": {"wsi_idc": found.provenance},
    }
    layers: list[LayerData] = [_placed(found.slide, "image", rgb=True)] if found.slide else []
    layers += [
        _placed(found.heat, "image", **heat),
        _placed(labels["tissue"], "labels", visible=False),
        _placed(labels["idc"], "labels", name="IDC", opacity=0.3, visible=not found.regions),
    ]
    # napari knows no holes: each ring is a line.
    rings = [shapely.get_coordinates(r)[:, ::-1] for _, g in found.regions for r in shapely.get_rings(g)]
    if rings:
        shown = {"name": "IDC regions", "shape_type": "path", "units": ("micrometer", "micrometer")}
        layers.append((rings, {**shown, "edge_color": np.array(IDC) / 255, "edge_width": 40.0}, "shapes"))
    return layers


def _placed(layer: Layer, kind: str, **shown: Any) -> LayerData:
    """Place an image: napari counts from the centre of the first pixel."""
    um = layer.um
    place = {"scale": (um, um), "translate": (um / 2, um / 2), "units": ("micrometer", "micrometer")}
    return layer.pixels, {"name": layer.name, **place, **shown}, kind
