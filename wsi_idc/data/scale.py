"""At how many um per pixel the patches in a folder are: a record beside them, which whoever cut them leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path

from wsi_idc.base.files import replacing
from wsi_idc.base.inputs.documents import read_json
from wsi_idc.errors import DataError

# The scale of the Kaggle patches, slides scanned at 0.25 um/px and reduced 16:1, and of folders that state none.
PATCH_MPP = 4.0
RECORD = "patches.json"
_LARGEST = 1 << 12
# What a model may see, as models/model.schema.json has it.
_SHAPE = {
    "type": "object",
    "required": ["mpp"],
    "properties": {"mpp": {"type": "number", "minimum": 0.05, "maximum": 20}},
}


def stated_mpp(folder: Path) -> float | None:
    """Return the um per pixel that a folder of patches states; None where it does not.

    Raises DataError where its record is damaged.
    """
    path = folder / RECORD
    try:
        return float(read_json(path, _LARGEST, _SHAPE)["mpp"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f'{path}: does not state the scale of the patches ({error}); write {{"mpp": 4.0}} into it, or what it is'
        ) from error


def mpp_of(folder: Path) -> float:
    """Return the um per pixel of the patches in a folder: what it states, or else that of the Kaggle set."""
    return stated_mpp(folder) or PATCH_MPP


def same_mpp(one: float, other: float) -> bool:
    """Say whether two scales in um per pixel are one, whatever they were rounded to."""
    return math.isclose(one, other, rel_tol=1e-4)


def unstated(folder: Path, mpp: float, model: str) -> list[str]:
    """Say what a model, of another scale than the public patches have, takes patches for whose folder states none."""
    if stated_mpp(folder) is not None or same_mpp(mpp, PATCH_MPP):
        return []
    return [
        f"nothing states the scale of the patches: they are taken to be at the {mpp:g} um/px that {model} sees, not at "
        f"the {PATCH_MPP:g} of the public ones; {RECORD} in their folder states it"
    ]


def state_mpp(folder: Path, mpp: float) -> None:
    """Have a folder of patches state their um per pixel; raises OutputError where it cannot be written."""
    with replacing(folder / RECORD) as temporary:
        temporary.write_text(json.dumps({"mpp": mpp}) + "\n", encoding="utf-8")
