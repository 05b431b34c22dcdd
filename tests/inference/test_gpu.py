import ctypes
import subprocess
import sys

import pytest

from wsi_idc.inference import choose, gpu
from wsi_idc.models.registry import find_model


class Driver:
    """CUDA's driver with a number of devices; `cuInit` gives an error where there is none, as the real one does."""

    def __init__(self, devices):
        self.devices = devices

    def cuInit(self, flags):
        return 0 if self.devices else 100

    def cuDeviceGetCount(self, count):
        count._obj.value = self.devices
        return 0


@pytest.fixture(autouse=True)
def forgotten():
    for asked in (gpu.has_gpu, gpu.computes_on_gpu):
        asked.cache_clear()
    yield
    for asked in (gpu.has_gpu, gpu.computes_on_gpu):
        asked.cache_clear()


@pytest.mark.parametrize(("devices", "there"), [(0, False), (2, True)])
def test_the_driver_is_asked_for_devices(monkeypatch, devices, there):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(devices))
    assert gpu.has_gpu() is there


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    def none(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert gpu.has_gpu() is False


def test_keras_without_a_device_does_not_compute_on_one(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert gpu.computes_on_gpu("keras") is False


def test_a_backend_that_dies_or_hangs_does_not_compute_on_one(monkeypatch):
    monkeypatch.setattr(gpu, "_KERAS_GPUS", "print(1); raise SystemExit(1)")
    assert gpu.computes_on_gpu("keras") is False
    gpu.computes_on_gpu.cache_clear()
    monkeypatch.setattr(gpu, "_KERAS_GPUS", "import time; print(1, flush=True); time.sleep(60)")
    monkeypatch.setattr(gpu, "_LONGEST_S", 0.5)
    assert gpu.computes_on_gpu("keras") is False


@pytest.mark.parametrize(("on_gpu", "chosen"), [({"onnx", "keras"}, "onnx"), ({"keras"}, "keras"), (set(), "onnx")])
@pytest.mark.parametrize("patches", [1, choose.WORTH_MEASURING - 1])
def test_auto_takes_the_gpu_whatever_the_number_of_patches(monkeypatch, on_gpu, chosen, patches):
    monkeypatch.setattr(choose, "has_gpu", lambda: True)
    monkeypatch.setattr(choose, "computes_on_gpu", on_gpu.__contains__)
    assert choose.choose_engine("auto", find_model("idc-patch"), patches) == chosen


def test_an_engine_is_asked_only_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setattr(choose, "has_gpu", lambda: False)
    monkeypatch.setattr(choose, "computes_on_gpu", pytest.fail)
    assert choose.choose_engine("auto", find_model("idc-patch"), 1) == "onnx"


def test_asking_loads_no_backend_into_this_process():
    code = "import sys; from wsi_idc.inference.gpu import has_gpu; has_gpu(); assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
