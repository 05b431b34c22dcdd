"""A model package: a folder with `model.json`, checked by a schema, and weights, verified by checksum when read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi_idc.base.inputs.bounded import read_bytes
from wsi_idc.base.inputs.documents import checked, parse_json
from wsi_idc.errors import ModelError

SCHEMA = Path(__file__).with_name("model.schema.json")
# Bytes of a description, and of weights: the largest networks of patches that are published take some 1.2 GB.
_LARGEST, _LARGEST_WEIGHTS = 1 << 22, 1 << 31


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """What `model.json` says; `sha256` identifies the package, weights included, since their checksums are in it.

    `mpp` is in um per pixel, `patch_size` in pixels, `halo` in patches. The probability of IDC is
    sigmoid(logit / temperature); a patch at or above `threshold` is IDC.
    """

    folder: Path
    name: str
    version: str
    description: str
    licence: str
    mpp: float
    patch_size: int
    halo: int
    classes: tuple[str, str]
    threshold: float
    temperature: float
    networks: dict[str, dict[str, dict[str, str]]]
    training_data: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    sha256: str
    familiar: dict[str, str] | None = None

    @property
    def patch_mm2(self) -> float:
        """Area of a patch in mm2."""
        return (self.patch_size * self.mpp) ** 2 / 1e6

    def formats(self) -> set[str]:
        """Return the weight formats ("keras", "onnx") that every network of the package has."""
        return set.intersection(*(set(network) for network in self.networks.values()))

    def read_weights(self, network: str, form: str) -> bytes:
        """Read the weights of a network ("encoder", "context") in a form ("keras", "onnx") and verify their sha256.

        Raises ModelError where the file is missing or is not the one that `model.json` names.
        """
        return self._read(self.networks[network][form])

    def read_familiar(self) -> dict[str, Any] | None:
        """Read what the slides of training were like (`wsi_idc.inference.familiar`); None where nobody noted it.

        Raises ModelError as `read_weights` does.
        """
        return parse_json(self._read(self.familiar)) if self.familiar else None

    def check_unchanged(self, form: str | None) -> None:
        """Raise ModelError where `model.json`, or the weights of a form, are no longer what was loaded."""
        try:
            same = hashlib.sha256(read_bytes(self.folder / "model.json", _LARGEST)).hexdigest() == self.sha256
        except OSError:
            same = False
        if not same:
            raise ModelError(f"{self.folder}: was changed while it was computed with; run again once it stays as it is")
        for network in self.networks if form else ():
            self._read(self.networks[network][str(form)])

    def _read(self, entry: dict[str, str]) -> bytes:
        path = self.folder / entry["file"]
        try:
            data = read_bytes(path, _LARGEST_WEIGHTS)
        except OSError as error:
            raise ModelError(
                f"{path}: the weights cannot be read ({error.strerror}); install the model again"
            ) from error
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise ModelError(
                f"{path}: its sha256 is not the one that model.json states, so it was damaged or exchanged; "
                "install the model again"
            )
        return data


def load_package(folder: Path) -> ModelPackage:
    """Read the package in `folder`; raises ModelError, naming the file and the fault, where it is not valid."""
    path = folder / "model.json"
    try:
        raw = read_bytes(path, _LARGEST)
        facts = parse_json(raw)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); a model is a folder with a model.json") from error
    except ValueError as error:
        raise ModelError(f"{path}: is not JSON ({error})") from error
    try:
        checked(facts, json.loads(SCHEMA.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error
    for key in ("format", "format_version", "preprocessing"):
        del facts[key]
    facts["classes"] = tuple(facts["classes"])
    # JSON schema takes 50.0 for an integer.
    facts |= {key: int(facts[key]) for key in ("patch_size", "halo")}
    return ModelPackage(folder=folder, sha256=hashlib.sha256(raw).hexdigest(), **facts)
