"""A run as SpatialData, for scverse's tools: its slide, probabilities, labels and regions in one frame, micrometres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.api.layers import Layer, RunLayers, read_layers
from wsi_idc.base.disk.folders import new_folder
from wsi_idc.base.extras import needs_extra

# The frame of all elements: micrometres from the top-left corner of the slide.
FRAME = "global"


def write_spatialdata(target: Path, run: Path, slide: Path | None = None) -> list[str]:
    """Write a run to the new folder `target` as a SpatialData store, and return what is not in it, in words.

    Images "he" (the slide, 4 um per pixel or coarser) and "idc_probability" (a pixel a patch, NaN for none), labels
    "idc" and "tissue", shapes "regions" with class and measurements; `slide` is where the slide is, else it is looked
    for. Raises DataError where `run` is none, SlideError where `slide` is another one, OutputError for the target,
    MissingExtraError without the extra `spatialdata`.
    """
    with needs_extra("spatialdata"):
        import spatialdata
    found = read_layers(run, slide)
    images = {"idc_probability": _image(found.heat, ["IDC"])}
    notes = []
    if found.slide:
        images["he"] = _image(found.slide, ["r", "g", "b"])
    else:
        notes.append("its slide was not found, so that the store has no image of it; say where it is with --slide")
    shapes = {"regions": _regions(found)} if found.regions else {}
    if not found.regions:
        notes.append("no regions, so that the store has no shapes")
    attributes = {"wsi_idc": found.provenance}
    labels = {layer.name: _labels(layer) for layer in found.labels}
    store = spatialdata.SpatialData(images=images, labels=labels, shapes=shapes, attrs=attributes)
    with new_folder(target) as place:
        # It makes the folder itself, and refuses one that is no store.
        place.rmdir()
        store.write(place)
    return notes


def _image(layer: Layer, channels: list[str]) -> Any:
    from spatialdata.models import Image2DModel

    pixels = layer.pixels[:, :, None] if layer.pixels.ndim == 2 else layer.pixels
    return Image2DModel.parse(
        np.moveaxis(pixels, -1, 0), dims=("c", "y", "x"), c_coords=channels, transformations={FRAME: _scale(layer)}
    )


def _labels(layer: Layer) -> Any:
    from spatialdata.models import Labels2DModel

    values = layer.pixels.astype(np.int32)
    return Labels2DModel.parse(values, dims=("y", "x"), transformations={FRAME: _scale(layer)})


def _scale(layer: Layer) -> Any:
    """Return where a layer lies: SpatialData counts from the corner of the first pixel, which is that of the slide."""
    from spatialdata.transformations import Scale

    return Scale([layer.um, layer.um], axes=("x", "y"))


def _regions(found: RunLayers) -> Any:
    import geopandas
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    rows = [{"class": one.classification, "name": one.name, **one.measurements} for one, _ in found.regions]
    index = [one.id or str(n) for n, (one, _) in enumerate(found.regions)]
    table = geopandas.GeoDataFrame(rows, index=index, geometry=[outline for _, outline in found.regions])
    return ShapesModel.parse(table, transformations={FRAME: Identity()})
