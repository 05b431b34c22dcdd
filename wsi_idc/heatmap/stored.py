"""What lies on disk of a heatmap, checked before Zarr looks at it, which believes what a description claims."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from wsi_idc.base.grid import Grid
from wsi_idc.base.inputs.bounded import check_regular, open_regular
from wsi_idc.base.inputs.documents import checked, read_json

SCHEMA = Path(__file__).with_name("heatmap.schema.json")
# Bytes of a description; squares of an array, of a chunk, and pixels a side of a slide: beyond any there is.
_LARGEST, _MOST_SQUARES, _MOST_IN_CHUNK, _LONGEST_SIDE = 1 << 20, 1 << 27, 1 << 22, 10_000_000
_SIDE = {"type": "integer", "minimum": 1}
_ARRAY = {
    "type": "object",
    "required": ["shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs", "node_type"],
    "properties": {
        "zarr_format": {"const": 3},
        "node_type": {"const": "array"},
        "shape": {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2},
        "data_type": {"enum": ["float32", "uint8", "uint16", "uint32", "uint64"]},
        "chunk_grid": {
            "type": "object",
            "required": ["name", "configuration"],
            "properties": {
                "name": {"const": "regular"},
                "configuration": {
                    "type": "object",
                    "required": ["chunk_shape"],
                    "properties": {"chunk_shape": {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2}},
                },
            },
        },
        "codecs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"enum": ["bytes", "zstd"]}, "configuration": {"type": "object"}},
            },
            "minItems": 1,
            "maxItems": 2,
        },
        "attributes": {"type": "object"},
    },
}


@cache
def _schema() -> dict[str, Any]:
    return dict(json.loads(SCHEMA.read_text(encoding="utf-8")))


def read_facts(path: Path) -> dict[str, Any]:
    """Read the provenance of the heatmap in the folder `path`; raises OSError, or ValueError where it is none."""
    found = read_json(path / "zarr.json", _LARGEST)
    attributes = found.get("attributes") if isinstance(found, dict) else None
    facts = attributes.get("wsi_idc") if isinstance(attributes, dict) else None
    if not isinstance(facts, dict):
        raise ValueError("states no provenance")
    return dict(checked(facts, _schema()))


def grid_of(facts: dict[str, Any]) -> Grid:
    """Return the grid that the provenance of a heatmap states; raises ValueError where no slide has it."""
    stated = facts["grid"]
    (width, height), mpp = (int(v) for v in stated["slide_size"]), [float(v) for v in stated["slide_mpp"]]
    grid = Grid((width, height), (mpp[0], mpp[1]), int(stated["patch_size"]), float(stated["mpp"]))
    plausible = 1 <= width <= _LONGEST_SIDE and 1 <= height <= _LONGEST_SIDE and grid.patch_size >= 1
    if not plausible or min(*mpp, grid.mpp) < 1e-3 or max(*mpp, grid.mpp) > 1e4:
        raise ValueError("its grid is that of no slide")
    return grid


def check_array(folder: Path, shape: tuple[int, int] | None = None, chunk_at: tuple[int, int] | None = None) -> None:
    """Check an array and its chunks, in the folder of a Zarr store, and that its shape is as is known.

    With `chunk_at`, (row, column), of the chunks that one alone, which may be missing. Raises OSError, or ValueError
    where it is not as this tool writes it.
    """
    facts = read_json(folder / "zarr.json", _LARGEST, _ARRAY)
    held, chunk = (int(facts["shape"][0]), int(facts["shape"][1])), facts["chunk_grid"]["configuration"]["chunk_shape"]
    if shape is not None and held != shape:
        raise ValueError(f"holds {held[0]} x {held[1]} squares in place of {shape[0]} x {shape[1]}")
    if math.prod(held) > _MOST_SQUARES or math.prod(chunk) > _MOST_IN_CHUNK:
        raise ValueError(f"claims {held[0]} x {held[1]} squares in chunks of {chunk[0]} x {chunk[1]}")
    size = math.prod(chunk) * np.dtype(facts["data_type"]).itemsize
    packed = any(codec["name"] == "zstd" for codec in facts["codecs"])
    one = folder.joinpath("c", *map(str, chunk_at)) if chunk_at else None
    for file in (folder / "c").rglob("*") if one is None else [one] * one.exists():
        if not file.is_dir() and (_unpacked(file) if packed else check_regular(file)) != size:
            raise ValueError(f"{file.relative_to(folder)} is no chunk of it")


def _unpacked(file: Path) -> int:
    """Return the bytes that a file in zstd states to hold, -1 where it is none (RFC 8878, 3.1.1.1)."""
    with open_regular(file) as stream:
        head = stream.read(18)
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        return -1
    form = head[4]
    single, width = form >> 5 & 1, (0, 2, 4, 8)[form >> 6]
    at = 5 + (1 - single) + (0, 1, 2, 4)[form & 3]
    width = width or single
    return int.from_bytes(head[at : at + width], "little") + (256 if width == 2 else 0) if width else -1
