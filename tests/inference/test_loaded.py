import shutil

import pytest

from wsi_idc.errors import ModelError
from wsi_idc.inference import loaded
from wsi_idc.inference.loaded import Engines
from wsi_idc.models.package import load_package
from wsi_idc.models.registry import SHIPPED, find_model


@pytest.fixture
def made(monkeypatch):
    """The names of the engines that were made so far."""
    names = []

    def make(name, package, threads):
        names.append(name)
        return make_engine(name, package, threads)

    make_engine = loaded.make_engine
    monkeypatch.setattr(loaded, "make_engine", make)
    return names


def test_an_engine_is_made_once_and_kept(made):
    engines = Engines(find_model("idc-patch"), 1)
    assert engines["onnx"] is engines["onnx"]
    assert made == ["onnx"]


@pytest.mark.parametrize("wanted", ["auto", "onnx"])
def test_what_is_begun_ahead_is_what_a_run_gets(made, wanted):
    engines = Engines(find_model("idc-patch"), 1)
    engines.begin(wanted)
    engines.begin(wanted)
    ahead = engines._ahead.result()
    assert engines["onnx"] is ahead
    assert made == ["onnx"]


def test_engines_are_chosen_once_what_was_begun_is_there(made, monkeypatch):
    """What is measured to choose runs in processes of their own, which have the limits that this one has just then."""
    engines = Engines(find_model("idc-patch"), 1)
    engines.begin("auto")
    ahead, asked = engines._ahead, []

    def choose(wanted, package, n_patches):
        asked.append((wanted, n_patches, ahead.done()))
        return "onnx"

    monkeypatch.setattr(loaded, "choose_engine", choose)
    assert engines.chosen("auto", 30_000) is ahead.result()
    assert asked[-1] == ("auto", 30_000, True)


def test_only_what_onnx_runtime_computes_is_begun(made):
    engines = Engines(find_model("idc-patch"), 1)
    engines.begin("keras")
    assert engines._ahead is None


def test_another_engine_than_the_one_begun_is_made_when_asked_for(made):
    engines = Engines(find_model("idc-patch"), 1)
    engines.begin("auto")
    assert engines["openvino"].name == "openvino"
    assert made[-1] == "openvino"


def test_a_strangers_model_is_not_begun(made, tmp_path):
    shutil.copytree(SHIPPED / "idc-patch", tmp_path / "model")
    engines = Engines(load_package(tmp_path / "model"), 1)
    engines.begin("auto")
    assert made == [] and engines["onnx"].name == "onnx"


def test_what_fails_ahead_fails_where_it_is_asked_for(monkeypatch, tmp_path):
    shutil.copytree(SHIPPED / "idc-patch", tmp_path / "model")
    (tmp_path / "model" / "encoder.onnx").write_bytes(b"damaged")
    monkeypatch.setattr(loaded, "SHIPPED", tmp_path)
    engines = Engines(load_package(tmp_path / "model"), 1)
    engines.begin("auto")
    assert engines._ahead.exception() is not None
    with pytest.raises(ModelError, match=r"encoder\.onnx"):
        engines["onnx"]
