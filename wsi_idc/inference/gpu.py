"""Whether there is a GPU, and whether an engine would compute on it: asked of the driver and of the engine itself."""

from __future__ import annotations

import ctypes
from functools import cache

from wsi_idc.inference.apart import run_apart

# What CUDA's driver is called on Linux and on Windows; there is none elsewhere.
_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
# Run apart, for a backend writes to the terminal too, and it is for nothing if there is no GPU.
_KERAS_GPUS = """
import keras
name = keras.backend.backend()
if name == "tensorflow":
    import tensorflow
    print(len(tensorflow.config.list_physical_devices("GPU")))
elif name == "torch":
    import torch
    print(torch.cuda.device_count())
elif name == "jax":
    import jax
    print(sum(device.platform == "gpu" for device in jax.devices()))
"""
_LONGEST_S = 120


@cache
def has_gpu() -> bool:
    """Say whether the driver of CUDA lies here and has a device that this process may use (CUDA_VISIBLE_DEVICES)."""
    for name in _DRIVERS:
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    return False


@cache
def computes_on_gpu(engine: str) -> bool:
    """Say whether an engine that is installed, by its name, would compute on the GPU that is there."""
    if engine == "onnx":
        import onnxruntime

        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if engine != "keras":
        return False
    done = run_apart(_KERAS_GPUS, limit_s=_LONGEST_S)
    return done is not None and done.returncode == 0 and done.stdout.split()[-1:] not in ([], ["0"])
