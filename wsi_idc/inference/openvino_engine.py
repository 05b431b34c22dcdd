"""OpenVINO on the CPU: the ONNX weights of a package, in single precision or in bfloat16."""

from __future__ import annotations

import sys
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import numpy as np
from dask.system import CPU_COUNT

from wsi_idc.errors import PrecisionError
from wsi_idc.inference.onnx_file import CONTEXT_INPUTS, read_onnx
from wsi_idc.models.package import ModelPackage


class OpenVinoEngine:
    """OpenVINO in single precision: the numbers of ONNX Runtime but for rounding."""

    name = "openvino"
    weights, needs, extra, automatic = "onnx", "openvino", "openvino", True
    # Measured by benchmarks/engines.py, as that of the next one.
    batch_size = 8
    _precision = "f32"

    def __init__(self, package: ModelPackage, threads: int = CPU_COUNT) -> None:
        """Compile the package's ONNX weights for this processor, to compute on `threads` cores.

        Raises ModelError where they are damaged, lie in other files too, or may never end, and PrecisionError where the
        processor does not compute in the precision of this engine: it would be imitated, in silence, by another.
        """
        # What is wrong with a model is said first, for it is wrong on every processor.
        files = {network: read_onnx(package, network) for network in package.networks}
        core = _openvino().Core()
        if self._precision.upper() not in {*core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"), "F32"}:
            raise PrecisionError(
                f"this processor does not compute in {self._precision}; take --engine {OpenVinoEngine.name}"
            )
        self.lanes = threads
        shared = {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
        encoder = core.read_model(files["encoder"])
        # Of one form it is compiled to faster code; a batch on each core, as with ONNX Runtime.
        encoder.reshape([self.batch_size, package.patch_size, package.patch_size, 3])
        precise = {"INFERENCE_PRECISION_HINT": self._precision, "NUM_STREAMS": threads}
        compiled = core.compile_model(encoder, "CPU", shared | precise)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(threads):
            self._idle.put(compiled.create_infer_request())
        self._context: Any = None
        if "context" in files:
            # It takes a hundredth of the time, and decides: never in less than single precision.
            single = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
            self._context = core.compile_model(core.read_model(files["context"]), "CPU", shared | single)

    def run(self, network: str, *inputs: np.ndarray) -> np.ndarray:
        """Run a network; see `Engine.run`."""
        if network == "context":
            taken = {name for one in self._context.inputs for name in one.names}
            given = {name: value for name, value in zip(CONTEXT_INPUTS, inputs, strict=True) if name in taken}
            return self._context.create_infer_request().infer(given)[0]
        (pixels,) = inputs
        n = len(pixels)
        if n < self.batch_size:
            pixels = np.concatenate([pixels, np.zeros((self.batch_size - n, *pixels.shape[1:]), np.uint8)])
        request = self._idle.get()
        try:
            return request.infer([pixels])[0][:n]
        finally:
            self._idle.put(request)


class OpenVinoBf16Engine(OpenVinoEngine):
    """OpenVINO with the encoder in bfloat16, for processors that compute it: faster, and three digits."""

    name = "openvino-bf16"
    # Of 16,450 val patches it changes the class of 0.15 %, of blurred ones 0.21 % (benchmarks/engine_agreement.py).
    automatic = False
    batch_size = 16
    _precision = "bf16"


def _openvino() -> ModuleType:
    """Import OpenVINO without what it would send: at each import it tells a web analytics service of itself."""
    # None makes its import fail; OpenVINO then takes a stub that sends nothing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
