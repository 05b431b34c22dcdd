"""Whether there is a GPU, and whether an engine would compute on it: asked of the driver and of the engine itself."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from functools import cache

# What CUDA's driver is called on Linux and on Windows; there is none elsewhere.
_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
# Run apart: a backend takes half a gigabyte and writes to the terminal, for nothing if it finds no GPU.
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
    """Say whether an engine ("onnx" or "keras") that is installed would compute on the GPU that is there."""
    if engine == "onnx":
        import onnxruntime

        return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _KERAS_GPUS],
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST_S,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and done.stdout.split()[-1:] not in ([], ["0"])
