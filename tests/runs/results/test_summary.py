from importlib import metadata

import keras
import numpy
import onnxruntime
import pytest

from wsi_idc.runs.batch import segment
from wsi_idc.runs.results import summary

from helpers import contents


def test_any_build_of_onnx_runtime_will_do(painted, tmp_path, monkeypatch):
    """onnxruntime-gpu and onnxruntime-openvino bring the module onnxruntime, but no distribution of that name."""

    def version(name):
        if name.startswith("onnxruntime"):
            raise metadata.PackageNotFoundError(name)
        return found(name)

    found = metadata.version
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(summary, "version", version)
    result = segment(painted, tmp_path, model="idc-patch")
    assert result.summary["versions"]["onnxruntime"] == onnxruntime.__version__
    assert result.summary["versions"]["numpy"] == numpy.__version__
    assert "keras" not in result.summary["versions"]
    assert contents(result.folder)


@pytest.mark.parametrize(("engine", "there"), [("keras", {"keras", "tensorflow"}), (None, set())])
def test_the_versions_of_what_computed_are_told(engine, there):
    from wsi_idc.inference.engines import engine_versions

    found = engine_versions(engine)
    assert set(found) == there
    assert found.get("keras") in (keras.__version__, None)
