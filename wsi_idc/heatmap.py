"""The heatmap of a run as OME-Zarr 0.5: one probability per patch, with its scale, its labels and its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from wsi_idc.errors import DataError
from wsi_idc.grid import Grid

_COMMENT = "origin: top-left corner of the slide's first level-0 pixel; translation: centre of the first patch"


def _multiscales(grid: Grid, name: str) -> dict[str, Any]:
    """Describe a one-level image over the grid in micrometres, after the OME-NGFF 0.5 specification."""
    um = grid.patch_um
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": name,
                "axes": [
                    {"name": "y", "type": "space", "unit": "micrometer"},
                    {"name": "x", "type": "space", "unit": "micrometer"},
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [um, um]},
                            {"type": "translation", "translation": [um / 2, um / 2]},
                        ],
                    }
                ],
                "metadata": {"comment": _COMMENT},
            }
        ],
    }


def write_heatmap(
    path: Path,
    probabilities: np.ndarray,
    grid: Grid,
    chunk: int,
    labels: Mapping[str, np.ndarray],
    provenance: Mapping[str, Any],
) -> None:
    """Write probabilities (rows, cols) float32, NaN for none, as a new store with chunks of `chunk` a side.

    Beside them are label images over the grid, (rows, cols) of an unsigned integer type, and the provenance attributes.
    """
    group = zarr.open_group(path, mode="w-", zarr_format=3)
    group.attrs["ome"] = _multiscales(grid, "IDC probability")
    group.attrs["wsi_idc"] = dict(provenance)
    heatmap = group.create_array(
        "0",
        shape=probabilities.shape,
        chunks=(chunk, chunk),
        dtype="float32",
        fill_value=float("nan"),
        dimension_names=("y", "x"),
    )
    heatmap[:] = probabilities
    folder = group.create_group("labels")
    folder.attrs["ome"] = {"version": "0.5", "labels": sorted(labels)}
    for name, values in labels.items():
        label = folder.create_group(name)
        label.attrs["ome"] = _multiscales(grid, name) | {
            "image-label": {"version": "0.5", "source": {"image": "../../"}}
        }
        array = label.create_array(
            "0", shape=values.shape, chunks=values.shape, dtype=values.dtype, dimension_names=("y", "x")
        )
        array[:] = values


def read_heatmap(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a heatmap back: probabilities (rows, cols) float32, NaN where not computed, and the provenance.

    Raises DataError where `path` is not a heatmap of this tool.
    """
    try:
        group = zarr.open_group(path, mode="r")
        return np.asarray(group["0"][:]), dict(group.attrs["wsi_idc"])  # type: ignore[index,arg-type]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a heatmap written by wsi-idc ({type(error).__name__}: {error})") from error
