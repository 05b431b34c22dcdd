"""What a training is made from: by its content the same one or another, and what of it a package has to say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsi_idc.base.files import sha256_of
from wsi_idc.data.content import file_digests
from wsi_idc.data.kaggle import LabelledPatch
from wsi_idc.data.scale import unstated
from wsi_idc.data.seen import patient_digests, seen
from wsi_idc.data.store import PatchArray
from wsi_idc.errors import OutputError
from wsi_idc.models.registry import find_model
from wsi_idc.training.config import ModelConfig, TrainConfig
from wsi_idc.training.left.reading import CONFIG, held_config
from wsi_idc.training.select import select_patches, training_mpp

# How the configuration of a run begins; what older versions wrote knew patches by their names only.
_BEGIN, _OLDER = "# wsi-idc train; content ", "# wsi-idc train; patches "


def content_of(
    model: ModelConfig, data: Path, parts: Sequence[Sequence[LabelledPatch]], digests: Sequence[Sequence[bytes]]
) -> str:
    """Identify what a training is made from: patches by name, part, content and scale, and the weights to begin with.

    `parts` are the patches in `data` for training and for validation, `digests` those of their files.
    """
    found = hashlib.sha256()
    for part, own in zip(parts, digests, strict=True):
        found.update(f"{len(part)} patches\n".encode())
        for patch, digest in zip(part, own, strict=True):
            found.update(f"{patch.path.relative_to(data).as_posix()} {digest.hex()}\n".encode())
    # What the folder states, and what it is of a model.
    found.update(f"mpp {training_mpp(data, model)}\n".encode())
    if model.init:
        found.update(f"init {find_model(model.init).sha256}\n".encode())
    if Path(model.weights).is_file():
        found.update(f"weights {sha256_of(Path(model.weights))}\n".encode())
    return found.hexdigest()[:32]


def content_of_config(config: TrainConfig, data: Path) -> str:
    """Identify what the training that `config` describes is made from; raises what `select_patches` does."""
    parts = select_patches(data, config.data)
    return content_of(config.model, data, parts, [file_digests(part) for part in parts])


def held_text(config: TrainConfig, content: str) -> str:
    """Return what the folder of a run holds as its configuration."""
    return f"{_BEGIN}{content}\n{config.toml()}"


def came_from(
    data: Path, model: ModelConfig, training: PatchArray, val: PatchArray, result: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the result of a training with what a package of it has to say of where it came from.

    That is how many patients and patches there were, their scale, None where nothing states it, digests of the ids of
    patients who were seen, and of the model that training went on with, "begun", what holds of its weights wherever
    they go: licence, and patients seen.
    """
    trained_on, chosen_on = (set(part.patients.tolist()) for part in (training, val))
    found = dict(result) | {
        "training_data": {"patients": len(trained_on), "patches": len(training)},
        # More than none only where patches were split, not patients.
        "patients_in_both": len(trained_on & chosen_on),
        "mpp": training_mpp(data, model),
        "patients_seen": patient_digests(trained_on | chosen_on),
    }
    if not model.init:
        return found
    package = find_model(model.init)
    before = package.training_data
    found["patients_seen"] = sorted({*found["patients_seen"], *before.get("patients_seen", ())})
    known = seen(before, chosen_on)
    found["begun"] = {
        "name": f"{package.name} {package.version}",
        "licence": package.licence,
        "official_parts": list(before.get("official_parts", ())),
        "val_seen": None if known is None else len(known),
    }
    notes = unstated(data, package.mpp, package.name)
    if known:
        notes.append(
            f"{len(known)} of the {len(chosen_on)} validation patients were seen by {found['begun']['name']}, from "
            "whose weights training began: numbers on them, and what is chosen by them, are flattered"
        )
    return found | {"notes": [*result["notes"], *notes]}


def check_free(run: Path, text: str) -> None:
    """Raise OutputError where a folder holds a run that is not the one that `text` describes, or anything else."""
    if (run / CONFIG).exists():
        held = held_config(run)
        if held.startswith(_OLDER):
            raise OutputError(
                f"{run}: holds a training of an older version, which did not note the content of its patches; "
                "choose another -o"
            )
        if held != text:
            raise OutputError(
                f"{run}: holds a training with another configuration, other patches or another model to begin with; "
                "choose another -o"
            )
    elif held_files := sorted(p.name for p in run.iterdir() if not p.name.startswith(".")):
        raise OutputError(f"{run}: holds {held_files[0]}, which is of no training; choose another -o")
