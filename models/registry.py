"""Find model packages: shipped with the library, in the user's model folder, or by path."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from wsi_idc.errors import ModelError, UnknownModelError
from wsi_idc.models.package import ModelPackage, load_package

DEFAULT_MODEL = "idc-context"
SHIPPED = Path(__file__).with_name("shipped")


def user_models() -> Path:
    """Return the folder in which a user keeps model packages of her own, one folder each."""
    return Path(platformdirs.user_data_dir("wsi-idc", appauthor=False)) / "models"


def _folders() -> dict[str, Path]:
    """Return the folders of user and shipped packages by name; a user's own hides a shipped one of the same name."""
    found: dict[str, Path] = {}
    for root in (SHIPPED, user_models()):
        try:
            found |= {p.parent.name: p.parent for p in root.glob("*/model.json")}
        except OSError:
            # In a container the home may belong to somebody else.
            continue
    return dict(sorted(found.items()))


def list_models() -> tuple[list[ModelPackage], list[ModelError]]:
    """Load every shipped and user package, in order of name; also returns what is wrong with those that do not load."""
    packages, errors = [], []
    for folder in _folders().values():
        try:
            packages.append(load_package(folder))
        except ModelError as error:
            errors.append(error)
    return packages, errors


def find_model(name: str | Path = DEFAULT_MODEL) -> ModelPackage:
    """Load a package by name, or by the path of its folder; raises UnknownModelError where there is none."""
    folders = _folders()
    if str(name) in folders:
        return load_package(folders[str(name)])
    if Path(name).is_dir():
        return load_package(Path(name))
    raise UnknownModelError(
        f"no model {str(name)!r}; known: {', '.join(folders)}; or give the folder of a model package"
    )
