"""Which patches and networks a training is of; light, so that what is wrong is said at once."""

from __future__ import annotations

from pathlib import Path

from wsi_idc.data.kaggle import LabelledPatch, index_patches, is_tree, patients_in
from wsi_idc.data.scale import RECORD, same_mpp, stated_mpp
from wsi_idc.data.split import check_there, official_split, read_leaky_split, read_split
from wsi_idc.errors import DataError
from wsi_idc.models.architectures import check_build
from wsi_idc.models.registry import find_model
from wsi_idc.training.config import DataConfig, ModelConfig

_PARTS = ("training", "validation")


def select_patches(folder: Path, config: DataConfig) -> tuple[list[LabelledPatch], list[LabelledPatch]]:
    """List the training and validation patches in `folder` that `config` names.

    Raises DataError for a part that does not exist or is empty, for a patient that is in two parts, and where a list
    names somebody, or a patch, that is not there.
    """
    patches = index_patches(folder)
    what = "patches of"
    if _is_of_patches(config):
        split, ids = read_leaky_split(Path(config.split)), [p.path.relative_to(folder).as_posix() for p in patches]
        what = "patch"
    else:
        ids = [p.patient for p in patches]
        found = official_split(set(ids)) if config.split == "official" else read_split(Path(config.split))
        split = {name: set(part) for name, part in found.items()}
    # Shares of one's own have no patients that are in none of the parts.
    split = {"unlisted": set(), **split}
    if unknown := {*config.train, *config.val} - set(split):
        raise DataError(f"{config.split}: the split has no part {', '.join(sorted(unknown))}, but {', '.join(split)}")
    wanted = [set().union(*(split[name] for name in names)) for names in (config.train, config.val)]
    # What training makes no use of need not be there: the test patients may well be kept elsewhere.
    for part, name, names in zip(wanted, _PARTS, (config.train, config.val), strict=True):
        if not part & set(ids):
            raise _empty(folder, config, name, names)
    check_there(folder, set().union(*wanted), ids, what)
    train, val = ([p for p, own in zip(patches, ids, strict=True) if own in part] for part in wanted)
    return train, val


def _is_of_patches(config: DataConfig) -> bool:
    """Say whether a split is one of patches, `data split --how leaky-patches`."""
    return config.split != "official" and (Path(config.split) / "train.csv").exists()


def training_mpp(folder: Path, config: ModelConfig) -> float | None:
    """Return the um per pixel of a model that is trained on the patches in `folder`; None where nothing states it.

    It is what the folder states, or else what the model sees that training goes on with. Raises DataError where these
    are two scales.
    """
    stated = stated_mpp(folder)
    if not config.init:
        return stated
    package = find_model(config.init)
    if stated is not None and not same_mpp(stated, package.mpp):
        raise DataError(
            f"{folder}: its patches are at {stated:g} um/px ({RECORD}), and {package.name}, with which training is to "
            f"go on, sees {package.mpp:g}; give a model of that scale, or none"
        )
    return package.mpp


def check_model(config: ModelConfig, folder: Path) -> None:
    """Raise ModelError where a network is asked for that there is not, DataError where it does not see the patches.

    Loads no Keras.
    """
    training_mpp(folder, config)
    if not config.init:
        check_build(config.architecture, config.weights, config.options)


def check_parts(folder: Path, config: DataConfig) -> None:
    """Raise DataError where nobody in `folder`, or not everybody listed, is of a part that `config` names.

    Looks at no patch: where patches were split, or a part is not known, `select_patches` says more.
    """
    patients = patients_in(folder)
    if _is_of_patches(config) or not is_tree(folder):
        return
    if config.split == "official":
        split = {name: set(part) for name, part in official_split(patients).items()}
    else:
        split = read_split(Path(config.split))
    for name, names in zip(_PARTS, (config.train, config.val), strict=True):
        part = set().union(*(split.get(n, set()) for n in names))
        if set(names) <= {*split, "unlisted"}:
            if not part & patients:
                raise _empty(folder, config, name, names)
            check_there(folder, part, patients)


def _empty(folder: Path, config: DataConfig, name: str, parts: tuple[str, ...]) -> DataError:
    """Say that there is nothing to train on, or to validate on, and what gives it."""
    way_out = (
        f"part its own patients: wsi-idc data split {folder} -o split --how random, then give --split split"
        if config.split == "official"
        else "see the lists there, and write them again with wsi-idc data split"
    )
    of = f"has no {name} patches in the split {config.split}: none of its patients is of {' or '.join(parts)}"
    return DataError(f"{folder}: {of}; {way_out}")
