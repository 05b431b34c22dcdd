"""Find model packages: shipped with the library, in the user's model folder, or by path."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import platformdirs

from wsi_idc.base.files import check_free, output_error
from wsi_idc.errors import ModelError, OutputError, UnknownModelError
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
    """Load every shipped and user package, in order of name; also returns what is wrong with those that do not load.

    >>> import wsi_idc
    >>> packages, errors = wsi_idc.list_models()
    >>> {"idc-context", "idc-patch"} <= {package.name for package in packages}
    True
    """
    packages, errors = [], []
    for folder in _folders().values():
        try:
            packages.append(load_package(folder))
        except ModelError as error:
            errors.append(error)
    return packages, errors


def find_model(name: str | Path = DEFAULT_MODEL) -> ModelPackage:
    """Load a package by name, or by the path of its folder, without its weights.

    Raises UnknownModelError where there is none, ModelError where it is damaged or of another version.

    >>> import wsi_idc
    >>> package = wsi_idc.find_model("idc-patch")
    >>> package.mpp, package.patch_size
    (4.0, 50)
    """
    folders = _folders()
    if str(name) in folders:
        return load_package(folders[str(name)])
    if Path(name).is_dir():
        return load_package(Path(name))
    raise UnknownModelError(
        f"no model {str(name)!r}; known: {', '.join(folders)}; or give the folder of a model package"
    )


def add_model(folder: Path, overwrite: bool = False) -> ModelPackage:
    """Copy the package in `folder` to the user's models, by its name, whole or not at all; nothing else in it.

    Raises ModelError where it is not valid or its weights are not those that it states, and without `overwrite`
    OutputError where a model of that name is there already, or ships and would be hidden.
    """
    package = load_package(folder)
    files = [form["file"] for network in package.networks.values() for form in network.values()]
    for network, forms in package.networks.items():
        for form in forms:
            package.read_weights(network, form)
    if package.familiar and package.read_familiar() is not None:
        files.append(package.familiar["file"])
    files += [name for name in ("model.json", "MODEL_CARD.md") if (folder / name).is_file()]
    place = user_models() / package.name
    if not overwrite and (SHIPPED / package.name).is_dir():
        raise OutputError(f"{package.name}: a model of that name ships; --overwrite hides it by this one")
    check_free(place, overwrite)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".adding-") as temporary:
            made = Path(temporary) / "new"
            made.mkdir()
            for name in files:
                shutil.copyfile(folder / name, made / name)
            if place.exists():
                # Out of the way first, so that no half of it is ever there.
                place.rename(Path(temporary) / "older")
            made.rename(place)
    except OSError as error:
        raise output_error(place, error) from error
    return load_package(place)
