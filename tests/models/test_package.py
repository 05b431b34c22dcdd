import hashlib
import json
import shutil
from pathlib import Path

import pytest

from wsi_idc.errors import ModelError, UnknownModelError
from wsi_idc.inference.engines import ENGINES
from wsi_idc.models.package import load_package
from wsi_idc.models.registry import SHIPPED, find_model, list_models

from helpers import write_unchecked_package


@pytest.fixture
def copy(tmp_path):
    """A copy of the shipped package that a test may damage."""
    return Path(shutil.copytree(SHIPPED / "idc-patch", tmp_path / "idc-patch"))


def change(folder, **changes):
    path = folder / "model.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (facts | changes).items() if v is not None}))


@pytest.mark.parametrize(("name", "halo", "auc", "f1"), [("idc-patch", 0, 0.94, 0.74), ("idc-context", 7, 0.979, 0.85)])
def test_shipped_models_state_what_they_must(name, halo, auc, f1):
    model = find_model(name)
    assert (model.mpp, model.patch_size, model.halo) == (4.0, 50, halo)
    assert model.formats() == {"keras", "onnx"}
    assert model.metrics["val"]["patches"] == 16209
    measured = {k: v["value"] if isinstance(v, dict) else v for k, v in model.metrics["val"].items()}
    assert measured["auc"] >= auc
    assert measured["f1"] >= f1
    assert 0 < model.threshold < 1


def test_the_model_by_default_is_the_one_that_sees_neighbours():
    assert find_model().name == "idc-context"


@pytest.mark.parametrize("name", ["idc-patch", "idc-context"])
def test_checksums_of_the_shipped_weights(name):
    model = find_model(name)
    for network, forms in model.networks.items():
        for form, entry in forms.items():
            assert hashlib.sha256(model.read_weights(network, form)).hexdigest() == entry["sha256"]


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 2},
        {"mpp": 100},
        {"mpp": None},
        {"threshold": 0},
        {"threshold": "0.5"},
        {"temperature": 0},
        {"temperature": 1e-30},
        {"temperature": 1e30},
        {"threshold": 1e-30},
        {"patch_size": 50.5},
        {"halo": 1},
        {"classes": ["IDC"]},
        {"networks": {}},
        {"networks": {"encoder": {"onnx": {"file": "../elsewhere.onnx", "sha256": "0" * 64}}}},
        {"preprocessing": {"input": "float32 BGR", "scaling": "inside the network"}},
        {"extra": 1},
        {"name": "Has Spaces"},
    ],
)
def test_the_schema_refuses(copy, changes):
    load_package(copy)
    change(copy, **changes)
    with pytest.raises(ModelError, match=r"model\.json: \$"):
        load_package(copy)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("key", ["threshold", "mpp", "temperature"])
def test_numbers_that_are_none(copy, key, constant):
    change(copy, **{key: float(constant)})
    with pytest.raises(ModelError, match="is no number"):
        load_package(copy)


def test_integers_may_be_written_as_floats(copy):
    change(copy, patch_size=50.0, halo=0.0)
    package = load_package(copy)
    assert (package.patch_size, package.halo) == (50, 0)
    assert isinstance(package.patch_size, int)


def test_a_home_of_somebody_else_hides_no_shipped_model(monkeypatch):
    class Forbidden(type(SHIPPED)):
        def glob(self, pattern):
            raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("wsi_idc.models.registry.user_models", lambda: Forbidden("/root/models"))
    assert find_model("idc-patch").name == "idc-patch"


def test_damaged_json_and_missing_file(copy):
    (copy / "model.json").write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        load_package(copy)
    with pytest.raises(ModelError, match="a model is a folder with a"):
        load_package(copy / "nothing")


@pytest.mark.parametrize("name", ENGINES)
def test_exchanged_weights_are_not_loaded(copy, name):
    form = ENGINES[name].weights
    weights = copy / f"encoder.{form}"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match=f"encoder.{form}: its sha256"):
        ENGINES[name](load_package(copy))
    weights.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        ENGINES[name](load_package(copy))


def test_code_in_keras_weights_is_refused_even_with_the_right_checksum(tmp_path):
    import keras

    inputs = keras.Input((50, 50, 3), dtype="uint8")
    network = keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs))
    package = write_unchecked_package(tmp_path / "code", network)
    with pytest.raises(ModelError, match="Keras refuses"):
        ENGINES["keras"](package)


def test_identity_covers_the_weights(copy):
    before = load_package(copy).sha256
    networks = json.loads((copy / "model.json").read_text())["networks"]
    networks["encoder"]["onnx"]["sha256"] = "0" * 64
    change(copy, networks=networks)
    assert load_package(copy).sha256 != before


def test_registry_finds_shipped_user_and_path_models(copy, tmp_path, monkeypatch):
    monkeypatch.setattr("wsi_idc.models.registry.user_models", lambda: tmp_path / "user")
    assert find_model("idc-patch").folder == SHIPPED / "idc-patch"
    assert find_model(copy).folder == copy
    shutil.copytree(copy, tmp_path / "user" / "mine")
    change(tmp_path / "user" / "mine", name="mine")
    assert find_model("mine").name == "mine"
    (tmp_path / "user" / "broken").mkdir()
    (tmp_path / "user" / "broken" / "model.json").write_text("{}")
    packages, errors = list_models()
    assert {"idc-patch", "mine"} <= {m.name for m in packages}
    assert len(errors) == 1
    assert "broken" in str(errors[0])
    with pytest.raises(UnknownModelError, match=r"no model 'other'; known: broken, .*mine"):
        find_model("other")
