"""Which patients a model has seen, told by digests of their ids, which a package may hold without naming anybody."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from wsi_idc.data.split import official_split

# Ids are short, and whoever has a digest may try all of them: at 10 ms and 4 MiB each a million takes hours. A
# salt would lie beside the digests, and part those of a model from those of the model that it began with.
_SALT, _COST, _BLOCK, _LENGTH = b"wsi-idc patient", 1 << 12, 8, 8


@lru_cache(maxsize=1 << 16)
def _digest(patient: str) -> str:
    key = hashlib.scrypt(patient.encode("utf-8", "surrogateescape"), salt=_SALT, n=_COST, r=_BLOCK, p=1, dklen=_LENGTH)
    return key.hex()


def patient_digests(patients: Iterable[str]) -> list[str]:
    """Return a digest of the id of each patient, in an order that tells nothing."""
    return sorted({_digest(patient) for patient in patients})


def seen_in_parts(training_data: Mapping[str, Any], patients: Collection[str]) -> dict[str, list[str]]:
    """Return which of `patients` a model has seen by the parts of the official split that it names, part by part.

    `training_data` is that of its package.
    """
    # Whoever is in no list may be of another set of patches altogether.
    parts = set(training_data.get("official_parts", ())) - {"unlisted"}
    return {part: listed for part, listed in official_split(patients).items() if part in parts and listed}


def seen_by_id(training_data: Mapping[str, Any], patients: Collection[str]) -> set[str]:
    """Return which of `patients` a model has seen by the digests of ids that it holds."""
    held = set(training_data.get("patients_seen", ()))
    return {patient for patient in patients if _digest(patient) in held} if held else set()


def seen(training_data: Mapping[str, Any], patients: Collection[str]) -> set[str] | None:
    """Return which of `patients` a model was trained on, or chosen on; None where its package says nothing of it."""
    if not {"official_parts", "patients_seen"} & set(training_data):
        return None
    parts = seen_in_parts(training_data, patients).values()
    return seen_by_id(training_data, patients).union(*parts)
