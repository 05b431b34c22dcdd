"""Pixels to probabilities: engines behind one small protocol, and the context that a model may look at."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from wsi_idc.errors import ModelError
from wsi_idc.models.package import ModelPackage

# Builds of ONNX Runtime send telemetry unless told not to before they are loaded; slides stay where they are.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


class Engine(Protocol):
    """Runs the networks of one package. Calls come from one thread at a time."""

    name: str
    batch_size: int

    def run(self, network: str, *inputs: np.ndarray) -> np.ndarray:
        """Run "encoder" on (n, s, s, 3) uint8, or "context" on features and presence, both (1, r, c, k) float32."""
        ...


class OnnxEngine:
    """ONNX Runtime, on its CPU provider or on CUDA where the installed build has it."""

    name = "onnx"
    # Measured by benchmarks/engines.py: on a CPU small batches stay in the cache.
    batch_size = 16

    def __init__(self, package: ModelPackage) -> None:
        """Load the package's ONNX weights; raises ModelError where they are damaged."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Threads that spin while they wait take the cores from those that read the slide: half the speed of a stream.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions = {}
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in _providers()]
        for network in package.networks:
            # From memory, not by path: the bytes that run are the bytes whose checksum was verified.
            data = package.read_weights(network, "onnx")
            self._sessions[network] = onnxruntime.InferenceSession(data, options, providers=providers)

    def run(self, network: str, *inputs: np.ndarray) -> np.ndarray:
        """Run a network; see `Engine.run`."""
        session = self._sessions[network]
        # By name: an exporter need not keep the order of the inputs.
        names = ["features", "present"] if network == "context" else [session.get_inputs()[0].name]
        return session.run(None, dict(zip(names, inputs, strict=True)))[0]


class KerasEngine:
    """Keras on whatever backend it is configured for (TensorFlow, torch or JAX)."""

    name = "keras"
    batch_size = 64

    def __init__(self, package: ModelPackage) -> None:
        """Load the package's Keras weights safely; raises ModelError where they are damaged or hold code."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras

        self._models: dict[str, Any] = {}
        for network, forms in package.networks.items():
            data = package.read_weights(network, "keras")
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "verified.keras"
                path.write_bytes(data)
                try:
                    # Safe mode refuses Lambda layers and anything else that would run code from the file.
                    model = keras.saving.load_model(path, compile=False, safe_mode=True)
                except (ValueError, TypeError, OSError) as error:
                    raise ModelError(
                        f"{package.folder / forms['keras']['file']}: Keras refuses these weights "
                        f"({str(error).splitlines()[0]})"
                    ) from error
            self._models[network] = model

    def run(self, network: str, *inputs: np.ndarray) -> np.ndarray:
        """Run a network; see `Engine.run`."""
        model = self._models[network]
        outputs = model.predict_on_batch(inputs[0] if len(inputs) == 1 else list(inputs))
        return np.asarray(outputs, np.float32)


ENGINES: dict[str, type[OnnxEngine] | type[KerasEngine]] = {"onnx": OnnxEngine, "keras": KerasEngine}


def _providers() -> list[str]:
    import onnxruntime

    return onnxruntime.get_available_providers()


class Predictor:
    """A model package on an engine: patches in, calibrated probabilities out. Safe to call from several threads."""

    def __init__(self, package: ModelPackage, engine: Engine) -> None:
        """Bind a package to an engine that was made for it."""
        self.package, self.engine = package, engine
        # One owner of the device at a time: readers go on while a batch is computed.
        self._lock = threading.Lock()

    def patches(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probability (n,) float32 of patches (n, s, s, 3) uint8, each alone, with no neighbours present."""
        features = self._encode(pixels)
        if self.package.halo:
            side = 2 * self.package.halo + 1
            logits = np.empty(len(pixels), np.float32)
            for i, feature in enumerate(features):
                block = np.zeros((side, side, features.shape[1]), np.float32)
                present = np.zeros((side, side), bool)
                block[side // 2, side // 2], present[side // 2, side // 2] = feature, True
                logits[i] = self._context(block, present)[side // 2, side // 2]
        else:
            logits = features[:, 0]
        return self._calibrate(logits)

    def block(self, pixels: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Return the probabilities (r, c) float32 of a block of the grid, NaN where no patch is present.

        `pixels` is (r * s, c * s, 3) uint8, `present` (r, c) bool. Neighbours outside the block count as missing, so
        the outermost `halo` patches are right only at the border of the grid.
        """
        size = self.package.patch_size
        rows, cols = present.shape
        tiles = pixels.reshape(rows, size, cols, size, 3).transpose(0, 2, 1, 3, 4)
        features = self._encode(tiles[present])
        logits = np.full((rows, cols), np.nan, np.float32)
        if self.package.halo and present.any():
            grid = np.zeros((rows, cols, features.shape[1]), np.float32)
            grid[present] = features
            logits[present] = self._context(grid, present)[present]
        else:
            logits[present] = features[:, 0]
        return self._calibrate(logits)

    def _encode(self, pixels: np.ndarray) -> np.ndarray:
        batches = range(0, len(pixels), size := self.engine.batch_size)
        with self._lock:
            parts = [self.engine.run("encoder", np.ascontiguousarray(pixels[i : i + size])) for i in batches]
        return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)

    def _context(self, grid: np.ndarray, present: np.ndarray) -> np.ndarray:
        with self._lock:
            return self.engine.run("context", grid[None], present[None, ..., None].astype(np.float32))[0, ..., 0]

    def _calibrate(self, logits: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return (1 / (1 + np.exp(-logits / np.float32(self.package.temperature)))).astype(np.float32)
