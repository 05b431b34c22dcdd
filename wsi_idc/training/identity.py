"""What makes a training the same one: its configuration, and the content of all that it is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from wsi_idc.base.files import sha256_of
from wsi_idc.data.content import file_digests
from wsi_idc.data.kaggle import LabelledPatch
from wsi_idc.errors import OutputError
from wsi_idc.models.registry import find_model
from wsi_idc.training.config import ModelConfig, TrainConfig
from wsi_idc.training.left.reading import CONFIG, held_config
from wsi_idc.training.select import select_patches

# How the configuration of a run begins; what older versions wrote knew patches by their names only.
_BEGIN, _OLDER = "# wsi-idc train; content ", "# wsi-idc train; patches "


def content_of(
    model: ModelConfig, data: Path, parts: Sequence[Sequence[LabelledPatch]], digests: Sequence[Sequence[bytes]]
) -> str:
    """Identify what a training is made from: patches by name, part and content, and the weights that it begins with.

    `parts` are the patches in `data` for training and for validation, `digests` those of their files.
    """
    found = hashlib.sha256()
    for part, own in zip(parts, digests, strict=True):
        found.update(f"{len(part)} patches\n".encode())
        for patch, digest in zip(part, own, strict=True):
            found.update(f"{patch.path.relative_to(data).as_posix()} {digest.hex()}\n".encode())
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
