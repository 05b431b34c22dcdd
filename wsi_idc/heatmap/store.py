"""The heatmap of a run as OME-Zarr 0.5: one probability per patch, with its scale, its labels and its provenance."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from wsi_idc.base.grid import Block, Grid
from wsi_idc.errors import DataError
from wsi_idc.heatmap.stored import check_array, grid_of, read_facts

# Pixels a side: files of 256 kB, and for all but the largest slides a single one.
_CHUNK, _LABEL_CHUNK = 256, 512
# With a checksum: a bit that a disk flips would else be another probability.
_CODEC = ZstdCodec(level=0, checksum=True)
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


# In memory first: on disk Zarr makes and renames, or drops, three files for each that stays.
_Files = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HeatmapSpec:
    """Of what a heatmap is: the squares that have a probability, and the provenance that it keeps as attributes."""

    grid: Grid
    provenance: Mapping[str, Any]


class HeatmapStore:
    """A heatmap that is being written; its chunks may come one by one and from any thread."""

    def __init__(self, path: Path, grid: Grid, provenance: Mapping[str, Any]) -> None:
        """Begin a store in the folder `path`, or go on with what is there of the same one.

        `grid` are the squares that have a probability; the provenance is kept as attributes.
        """
        self.path = path
        self._lock, self._files = threading.Lock(), _Files()
        ome = _multiscales(grid, "IDC probability")
        group = zarr.create_group(
            MemoryStore(self._files), zarr_format=3, attributes={"ome": ome, "wsi_idc": dict(provenance)}
        )
        self._heatmap = group.create_array(
            "0",
            shape=grid.shape,
            chunks=(_CHUNK, _CHUNK),
            dtype="float32",
            fill_value=float("nan"),
            dimension_names=("y", "x"),
            compressors=_CODEC,
        )
        _save(self._files, path)

    @classmethod
    def resume(cls, folder: Path, spec: HeatmapSpec) -> Self:
        """Go on with the store in a folder that a run of the same spec has begun there, or begin it."""
        return cls(folder, spec.grid, spec.provenance)

    def holds(self, block: Block, wanted: np.ndarray) -> bool:
        """Say whether of a chunk, one of `heatmap_chunks`, all probabilities `wanted`, (r, c) bool, are written."""
        try:
            with _reading(self.path):
                # Not the others: one that is damaged is no reason to compute them again.
                check_array(self.path / "0", chunk_at=(block.top // _CHUNK, block.left // _CHUNK))
                held = zarr.open_array(self.path / "0", mode="r", zarr_format=3)
                return bool((np.isfinite(np.asarray(held[block.slices])) == wanted).all())
        except DataError:
            # Cut short, when the process was killed or the machine lost its power.
            return False

    def write(self, block: Block, probabilities: np.ndarray) -> None:
        """Write the probabilities (r, c) float32, NaN for none, of one of `heatmap_chunks`, or of several."""
        with self._lock:
            self._heatmap[block.slices] = probabilities
            _save(self._files, self.path)

    def read(self) -> np.ndarray:
        """Return what has been written so far: (rows, cols) float32, NaN elsewhere."""
        with _reading(self.path):
            return _values(self.path, "0")

    def add_labels(self, labels: Mapping[str, np.ndarray], grid: Grid) -> None:
        """Add label images of an unsigned integer type over a grid of their own, in place of any that are there."""
        files = _Files()
        group = zarr.create_group(
            MemoryStore(files), zarr_format=3, attributes={"ome": {"version": "0.5", "labels": sorted(labels)}}
        )
        for name, values in labels.items():
            ome = _multiscales(grid, name) | {"image-label": {"version": "0.5", "source": {"image": "../../"}}}
            label = group.create_group(name, attributes={"ome": ome})
            array = label.create_array(
                "0",
                shape=values.shape,
                chunks=(_LABEL_CHUNK, _LABEL_CHUNK),
                dtype=values.dtype,
                dimension_names=("y", "x"),
                compressors=_CODEC,
            )
            array[:] = values
        # Zarr leaves out chunks of zeros: what a run that was killed wrote there would show.
        shutil.rmtree(self.path / "labels", ignore_errors=True)
        _save(files, self.path / "labels")

    def move(self, path: Path) -> None:
        """Move the store to another place, where nothing is, on the same file system."""
        self.path = self.path.rename(path)


def _save(files: _Files, folder: Path) -> None:
    """Move to disk what Zarr has made in memory."""
    while files:
        name, content = files.popitem()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.to_bytes())


def heatmap_chunks(grid: Grid) -> list[Block]:
    """Return the chunks in which a heatmap over `grid` is written, row by row."""
    return grid.blocks(_CHUNK)


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
    store = HeatmapStore(path, grid, provenance)
    store.write(Block(0, 0, *grid.shape), probabilities)
    store.add_labels(labels, label_grid)


def read_heatmap(path: str | Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a heatmap back: probabilities (rows, cols) float32, NaN where not computed, and the provenance.

    Raises DataError where `path` is not a heatmap of this tool.

    >>> import wsi_idc
    >>> heatmap, provenance = wsi_idc.read_heatmap("results/slide/heatmap.zarr")
    >>> heatmap.shape, str(heatmap.dtype), provenance["model"]
    ((12, 15), 'float32', 'idc-context')
    """
    with _reading(folder := Path(path)):
        facts = read_facts(folder)
        check_array(folder / "0", grid_of(facts).shape)
        return _values(folder, "0"), facts


def read_provenance(path: Path) -> dict[str, Any]:
    """Read the provenance of the heatmap at `path`, without its probabilities; raises DataError as `read_heatmap`."""
    with _reading(path):
        return read_facts(path)


def read_label(path: Path, name: str, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Read a label image of the heatmap at `path`, as `write_heatmap` got it.

    Raises DataError as `read_heatmap` does, and where it is not of the shape that is known.
    """
    with _reading(path):
        check_array(path / "labels" / name / "0", shape)
        return _values(path, f"labels/{name}/0")


def read_grid(path: Path) -> Grid:
    """Return the grid of the heatmap at `path`, from its provenance; raises DataError as `read_heatmap`."""
    with _reading(path):
        return grid_of(read_facts(path))


def _values(path: Path, name: str) -> np.ndarray:
    # Not by metadata that stand in another place than those that were checked.
    return np.asarray(zarr.open_array(path / name, mode="r", zarr_format=3)[:])


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        # Of a damaged store Zarr and its codecs raise whatever comes up.
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a heatmap written by wsi-idc, or a damaged one ({reason})") from error
