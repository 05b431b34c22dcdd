"""Find model packages: shipped with the library, in the user's model folder, or by path."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from wsi_idc.errors import ModelError
from wsi_idc.models.package import ModelPackage, load_package

DEFAULT_MODEL = "idc-patch"
SHIPPED = Path(__file__).with_name("shipped")


class UnknownModelError(ModelError):
    """No model of that name or at that path."""


def user_models() -> Path:
    """Return the folder in which a user keeps model packages of her own, one folder each."""
    return Path(platformdirs.user_data_dir("wsi-idc", appauthor=False)) / "models"


def list_models() -> list[ModelPackage]:
    """Load every shipped and user package, in order of name; a damaged one raises ModelError."""
    folders = [p.parent for root in (SHIPPED, user_models()) for p in root.glob("*/model.json")]
    return sorted((load_package(f) for f in folders), key=lambda m: m.name)


def find_model(name: str | Path = DEFAULT_MODEL) -> ModelPackage:
    """Load a package by name, or by the path of its folder; raises UnknownModelError where there is none."""
    if (Path(name) / "model.json").is_file():
        return load_package(Path(name))
    for root in (user_models(), SHIPPED):
        if (root / name / "model.json").is_file():
            return load_package(root / name)
    known = ", ".join(sorted(p.parent.name for r in (SHIPPED, user_models()) for p in r.glob("*/model.json")))
    raise UnknownModelError(f"no model {str(name)!r}; known: {known}; or give the folder of a model package")
