"""OME-Zarr stores, written for the tests by Zarr alone, as converters write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

_TYPES = {"t": "time", "c": "channel"}


def smaller(pixels: np.ndarray, by: int) -> np.ndarray:
    h, w = pixels.shape[0] // by, pixels.shape[1] // by
    blocks = pixels[: h * by, : w * by].reshape(h, by, w, by, 3)
    return np.rint(blocks.mean((1, 3), dtype=np.float32)).astype(np.uint8)


def multiscale(
    axes: str, mpp: float, by: Sequence[int], unit: str | None = "micrometer", **more: Any
) -> dict[str, Any]:
    """Attributes of one image, its levels in arrays called 0, 1, ..."""
    units = {axis: {"unit": unit} for axis in "xyz"} if unit else {}
    return {
        "name": "image",
        "axes": [{"name": a, "type": _TYPES.get(a, "space")} | units.get(a, {}) for a in axes],
        "datasets": [
            {
                "path": str(i),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [mpp * d if a in "xy" else 1.0 for a in axes]},
                ],
            }
            for i, d in enumerate(by)
        ],
    } | more


def write_group(folder: Path, ome: dict[str, Any], version: str = "0.5") -> zarr.Group:
    """Begin a group of OME-Zarr 0.4, in Zarr v2, or 0.5, in v3, with these attributes."""
    attributes = {"ome": {"version": version} | ome} if version == "0.5" else ome
    return zarr.open_group(str(folder), mode="w", zarr_format=3 if version == "0.5" else 2, attributes=attributes)


def write_level(group: zarr.Group, name: str, values: np.ndarray, chunks: Sequence[int], **more: Any) -> None:
    """Write an array as it is; chunks of nothing but the fill value are left out, as Zarr does."""
    array = group.create_array(name, shape=values.shape, chunks=tuple(chunks), dtype=values.dtype, **more)
    array[:] = values


def write_image(
    folder: Path,
    pixels: np.ndarray,
    mpp: float = 0.5,
    *,
    version: str = "0.5",
    axes: str = "tczyx",
    by: Sequence[int] = (1, 2),
    chunk: int = 64,
    sharded: bool = False,
    attributes: dict[str, Any] | None = None,
    change: dict[str, Any] | None = None,
    separator: str = "/",
) -> Path:
    """Write pixels (h, w, 3) uint8 as an OME-Zarr image with levels smaller `by` these; `change` is put into it."""
    one = multiscale(axes, mpp, by) | ({"version": version} if version == "0.4" else {}) | (change or {})
    group = write_group(folder, {"multiscales": [one]} | (attributes or {}), version)
    for number, d in enumerate(by):
        level = pixels if d == 1 else smaller(pixels, d)
        sides = [{"y": chunk, "x": chunk}.get(a, 1) for a in axes]
        more: dict[str, Any] = {"shards": tuple(2 * n if n > 1 else n for n in sides)} if sharded else {}
        if version == "0.4":
            more["chunk_key_encoding"] = {"name": "v2", "separator": separator}
        write_level(group, str(number), _turned(level, axes), sides, fill_value=0, **more)
    return folder


def _turned(pixels: np.ndarray, axes: str) -> np.ndarray:
    """Return pixels (h, w, 3) as an array of these axes, of which those but x, y and c have one place."""
    turned = pixels.transpose(["yxc".index(a) for a in axes if a in "yxc"])
    size = {"y": pixels.shape[0], "x": pixels.shape[1], "c": 3}
    return turned.reshape([size.get(a, 1) for a in axes])


def change_attributes(folder: Path, change: dict[str, Any], version: str = "0.5") -> None:
    """Put other values in the place of some attributes of a group."""
    file = folder / ("zarr.json" if version == "0.5" else ".zattrs")
    found = json.loads(file.read_text())
    place = found["attributes"]["ome"] if version == "0.5" else found
    place |= change
    file.write_text(json.dumps(found))
