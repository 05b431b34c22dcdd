"""What a folder is that holds Zarr: an image, several, or what is no slide; told from its attributes alone."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from wsi_idc.base.inputs.documents import check_weight
from wsi_idc.errors import SlideError

# What makes a folder a group or an array: of Zarr v3, then of v2.
_V3 = "zarr.json"
_V2 = (".zgroup", ".zattrs", ".zarray")
# Names in a store that begin with a dot and belong to it; others are the operating system's.
_DOTTED = (*_V2, ".zmetadata")
# What lists all that lies below it can be long; nothing that describes an image is longer.
_MOST_BYTES = 1 << 26
LABELS = "labels"
# Where Bio-Formats keeps what it knows of the images of a store.
XML = Path("OME", "METADATA.ome.xml")


class Content(Enum):
    """What a Zarr store holds; the value says why one that is no slide is refused, and the way out."""

    IMAGE = ""
    COLLECTION = " "
    PLATE = "is a plate of many wells (HCS), not a slide; give the image of a field in it"
    LABELS = "holds labels, which are not pixels of a slide; give the image that they belong to"
    HEATMAP = "is a heatmap that this tool has made, not a slide; wsi-idc delineate takes it"
    ARRAY = "is one level of an OME-Zarr image; give the folder that holds it, with the scale of all levels"
    OTHER = "is a Zarr store without an OME-Zarr image (no multiscales); give the folder of an image in it"

    @property
    def is_slide(self) -> bool:
        """Whether it holds one or several images."""
        return self in (Content.IMAGE, Content.COLLECTION)


@dataclass(frozen=True, slots=True)
class Group:
    """A folder of a store: its version of Zarr, 2 or 3, what its attributes are, and those of OME among them."""

    folder: Path
    zarr_format: int
    attributes: dict[str, Any]
    ome: dict[str, Any]
    is_array: bool = False

    @property
    def content(self) -> Content:
        """What it holds, by its attributes."""
        if self.is_array:
            return Content.ARRAY
        if "wsi_idc" in self.attributes:
            return Content.HEATMAP
        if "image-label" in self.ome or (LABELS in self.ome and "multiscales" not in self.ome):
            return Content.LABELS
        if "plate" in self.ome or "well" in self.ome:
            return Content.PLATE
        if self.ome.get("multiscales"):
            return Content.IMAGE
        return Content.COLLECTION if "bioformats2raw.layout" in self.ome else Content.OTHER


def is_store(path: Path) -> bool:
    """Say whether a folder is a group or an array of Zarr; False where it cannot be looked into."""
    # Not Path.is_file, which raises where it may not look.
    return any(os.path.isfile(path / name) for name in (_V3, *_V2))  # noqa: PTH113


def holds_slide(path: Path) -> bool:
    """Say whether a folder is a store that holds images; one whose attributes are damaged counts, to fail by itself."""
    if not is_store(path):
        return False
    try:
        return read_group(path).content.is_slide
    except SlideError:
        return True


def read_group(folder: Path) -> Group:
    """Read the attributes of a folder of a store; raises SlideError where they cannot be read, or make no sense."""
    third = _json(folder / _V3)
    attributes = third.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise SlideError(f"{folder / _V3}: the attributes of the store are no object of JSON; is it whole?")
    ome = attributes.get("ome")
    if third and (ome or not (folder / ".zattrs").is_file()):
        # Some keep what 0.4 says in the attributes of Zarr v3.
        ome = ome if isinstance(ome, dict) else attributes
        return Group(folder, 3, attributes, ome, third.get("node_type") == "array")
    attributes = _json(folder / ".zattrs")
    return Group(folder, 2, attributes, attributes, (folder / ".zarray").is_file())


def check_described(folder: Path) -> int:
    """Return the bytes that the description of an array has at most; Zarr has no bounds.

    Raises SlideError where it cannot be read, or is larger than that.
    """
    for name in (_V3, *_V2):
        _json(folder / name)
    return _MOST_BYTES


def files_of_store(folder: Path) -> list[Path]:
    """Return the files of a store but for labels, which others may add without changing the image, in order."""
    found: list[Path] = []
    for place, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if name != LABELS and not name.startswith("."))
        found += [Path(place, name) for name in files if not name.startswith(".") or name in _DOTTED]
    return sorted(found)


def _json(path: Path) -> dict[str, Any]:
    """Read an object of JSON; an empty one where there is no such file."""
    try:
        if not path.is_file():
            return {}
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES >> 20} MiB")
        check_weight(content := path.read_bytes())
        found = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SlideError(f"{path}: the attributes of the store cannot be read ({reason}); is it whole?") from error
    if not isinstance(found, dict):
        raise SlideError(f"{path}: the attributes of the store are no object of JSON; is it whole?")
    return found
