"""The heatmap of a run as OME-Zarr 0.5: one probability per patch, with its scale, its labels and its provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import MemoryStore

from wsi_idc.errors import DataError
from wsi_idc.grid import Grid

# Pixels a side: files of 256 kB, and for all but the largest slides a single one.
_CHUNK, _LABEL_CHUNK = 256, 512
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
    labels: Mapping[str, np.ndarray],
    label_grid: Grid,
    provenance: Mapping[str, Any],
) -> None:
    """Write probabilities (rows, cols) float32, NaN for none, as a store in a folder that is new or empty.

    Beside them are label images of an unsigned integer type over a grid of their own, and the provenance attributes.
    """
    # In memory first: on disk Zarr makes and renames, or drops, three files for each that stays.
    files: dict[str, Any] = {}
    ome = _multiscales(grid, "IDC probability")
    group = zarr.create_group(MemoryStore(files), zarr_format=3, attributes={"ome": ome, "wsi_idc": dict(provenance)})
    heatmap = group.create_array(
        "0",
        shape=probabilities.shape,
        chunks=(_CHUNK, _CHUNK),
        dtype="float32",
        fill_value=float("nan"),
        dimension_names=("y", "x"),
    )
    heatmap[:] = probabilities
    folder = group.create_group("labels", attributes={"ome": {"version": "0.5", "labels": sorted(labels)}})
    for name, values in labels.items():
        ome = _multiscales(label_grid, name) | {"image-label": {"version": "0.5", "source": {"image": "../../"}}}
        label = folder.create_group(name, attributes={"ome": ome})
        array = label.create_array(
            "0", shape=values.shape, chunks=(_LABEL_CHUNK, _LABEL_CHUNK), dtype=values.dtype, dimension_names=("y", "x")
        )
        array[:] = values
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.to_bytes())


def read_heatmap(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a heatmap back: probabilities (rows, cols) float32, NaN where not computed, and the provenance.

    Raises DataError where `path` is not a heatmap of this tool.
    """
    with _reading(path) as group:
        return np.asarray(group["0"][:]), dict(group.attrs["wsi_idc"])


def read_provenance(path: Path) -> dict[str, Any]:
    """Read the provenance of the heatmap at `path`, without its probabilities; raises DataError as `read_heatmap`."""
    with _reading(path) as group:
        return dict(group.attrs["wsi_idc"])


def read_label(path: Path, name: str) -> np.ndarray:
    """Read a label image of the heatmap at `path`, as `write_heatmap` got it; raises DataError as `read_heatmap`."""
    with _reading(path) as group:
        return np.asarray(group[f"labels/{name}/0"][:])


def read_grid(path: Path) -> Grid:
    """Return the grid of the heatmap at `path`, from its provenance; raises DataError as `read_heatmap`."""
    with _reading(path) as group:
        facts = group.attrs["wsi_idc"]["grid"]
        return Grid(tuple(facts["slide_size"]), tuple(facts["slide_mpp"]), facts["patch_size"], facts["mpp"])


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        yield zarr.open_group(path, mode="r")
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a heatmap written by wsi-idc ({type(error).__name__}: {error})") from error
