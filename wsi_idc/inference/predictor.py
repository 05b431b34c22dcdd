"""Pixels to probabilities: engines behind one small protocol, and the context that a model may look at."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from dask.system import CPU_COUNT

from wsi_idc.errors import ModelError
from wsi_idc.models.package import ModelPackage

# Builds of ONNX Runtime send telemetry unless told not to before they are loaded; slides stay where they are.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


# Patches that keep a GPU busy for about as long as it takes to hand them over; not measured.
GPU_BATCH = 512
_CUDA = "CUDAExecutionProvider"
# Until then safe mode could be got round, to run code out of a file of weights (CVE-2025-1550 and those after it).
SAFE_KERAS = (3, 15)
# The inputs of a context network, by name and in this order; it need not take the last one.
CONTEXT_INPUTS = ("features", "present", "slide")


class Engine(Protocol):
    """Runs the networks of one package. Calls come from at most `lanes` threads at a time."""

    name: str
    batch_size: int
    lanes: int

    def run(self, network: str, *inputs: np.ndarray) -> np.ndarray:
        """Run "encoder" on (n, s, s, 3) uint8, or "context" on features, presence and slide as in model.schema.json."""
        ...


class OnnxEngine:
    """ONNX Runtime, on its CPU provider or on CUDA where the installed build has it."""

    name = "onnx"
    # Measured by benchmarks/engines.py: on a CPU small batches stay in the cache.
    batch_size = 8

    def __init__(self, package: ModelPackage, threads: int = CPU_COUNT) -> None:
        """Load the package's ONNX weights, to compute on `threads` cores; raises ModelError where they are damaged."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # A batch on each core is a sixth faster than each batch on all, and the same to the last bit on any machine.
        options.intra_op_num_threads = 1
        self.lanes = threads
        self._sessions = {}
        # Other providers that a build may have are left alone: what they compute was not compared.
        providers = [p for p in (_CUDA, "CPUExecutionProvider") if p in _providers()]
        # What the neighbourhoods of a whole block took is not kept from one to the next.
        frugal = onnxruntime.RunOptions()
        frugal.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._run_options = {"context": frugal}
        for network in package.networks:
            # From memory, not by path: the bytes that run are the bytes whose checksum was verified.
            data = package.read_weights(network, "onnx")
            session = onnxruntime.InferenceSession(data, options, providers=providers)
            self._sessions[network] = session, [v.name for v in session.get_inputs()]
        # A build for CUDA falls back to the CPU where there is no GPU, or no CUDA that it can load.
        if all(_CUDA in session.get_providers() for session, _ in self._sessions.values()):
            self.batch_size, self.lanes = GPU_BATCH, 1

    def run(self, network: str, *inputs: np.ndarray) -> np.ndarray:
        """Run a network; see `Engine.run`."""
        session, taken = self._sessions[network]
        # By name: an exporter need not keep the order of the inputs, nor one that the network makes no use of.
        given = zip(CONTEXT_INPUTS if network == "context" else taken, inputs, strict=True)
        feeds = {name: value for name, value in given if name in taken}
        return session.run(None, feeds, self._run_options.get(network))[0]


class KerasEngine:
    """Keras on whatever backend it is configured for (TensorFlow, torch or JAX)."""

    name = "keras"
    batch_size, lanes = 64, 1

    def __init__(self, package: ModelPackage, threads: int = CPU_COUNT) -> None:
        """Load the package's Keras weights safely; raises ModelError where they are damaged or hold code.

        Its backend computes each batch on as many cores as the environment gives it, whatever `threads` is.
        """
        self._models = {network: load_keras(package, network) for network in package.networks}

    def run(self, network: str, *inputs: np.ndarray) -> np.ndarray:
        """Run a network; see `Engine.run`."""
        model = self._models[network]
        if network == "context":
            given = dict(zip(CONTEXT_INPUTS, inputs, strict=True))
            outputs = model.predict_on_batch([given[v.name] for v in model.inputs])
        else:
            outputs = model.predict_on_batch(*inputs)
        return np.asarray(outputs, np.float32)


def load_keras(package: ModelPackage, network: str) -> Any:
    """Load a network of a package as a `keras.Model`.

    Raises ModelError where its weights are damaged or hold code, and where Keras is older than `SAFE_KERAS`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    if tuple(int(number) for number in keras.__version__.split(".")[:2]) < SAFE_KERAS:
        safe = ".".join(map(str, SAFE_KERAS))
        raise ModelError(
            f"Keras {keras.__version__} can be made to run code out of a file of weights (CVE-2025-1550 and later); "
            f'pip install "keras>={safe}", or take --engine onnx'
        )
    data = package.read_weights(network, "keras")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "verified.keras"
        path.write_bytes(data)
        try:
            # Safe mode refuses Lambda layers and anything else that would run code from the file.
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except (ValueError, TypeError, OSError) as error:
            raise ModelError(
                f"{package.folder / package.networks[network]['keras']['file']}: Keras refuses these weights "
                f"({str(error).splitlines()[0]})"
            ) from error


ENGINES: dict[str, type[OnnxEngine] | type[KerasEngine]] = {"onnx": OnnxEngine, "keras": KerasEngine}


def _providers() -> list[str]:
    import onnxruntime

    return onnxruntime.get_available_providers()


def engine_versions(name: str | None) -> dict[str, str]:
    """Return the versions of what the engine `name` computes with, none for None, as the packages themselves say.

    Not as the installer does: ONNX Runtime comes in distributions of several names (onnxruntime-gpu, -openvino).
    """
    if name == "onnx":
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}
    if name == "keras":
        import keras

        backend = keras.backend.backend()
        return {"keras": keras.__version__, backend: importlib.import_module(backend).__version__}
    return {}


class Predictor:
    """A model package on an engine: patches in, calibrated probabilities out. Safe to call from several threads."""

    def __init__(self, package: ModelPackage, engine: Engine) -> None:
        """Bind a package to an engine that was made for it."""
        self.package, self.engine = package, engine
        # What computes is this pool alone, however many threads read: a device has one owner, a core one batch.
        self._pool = ThreadPoolExecutor(engine.lanes, "wsi-idc-engine")
        self.n_features = self.encode(np.zeros((1, package.patch_size, package.patch_size, 3), np.uint8)).shape[1]

    def patches(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probability (n,) float32 of patches (n, s, s, 3) uint8, each alone: all that is of its slide."""
        alone = self.encode(pixels)[:, None, None] if len(pixels) else np.empty((0, 1, 1, self.n_features), np.float32)
        return np.array([self.probabilities(features)[0, 0] for features in alone], np.float32)

    def block(self, pixels: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Return the probabilities (r, c) float32 of a block that is a whole image, NaN where no patch is present.

        `pixels` is (r * s, c * s, 3) uint8, `present` (r, c) bool.
        """
        return self.probabilities(self.features(pixels, present))

    def features(self, pixels: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Encode the patches of a block, each for itself: (r, c, n_features) float32, NaN where none is present."""
        return self.features_of([(pixels, present)])[0]

    def features_of(self, blocks: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """Encode the patches of blocks, given as to `features`, in batches that are filled across blocks."""
        size, tiles = self.package.patch_size, []
        for pixels, present in blocks:
            rows, cols = present.shape
            tiles.append(pixels.reshape(rows, size, cols, size, 3).transpose(0, 2, 1, 3, 4)[present])
        found = [np.full((*present.shape, self.n_features), np.nan, np.float32) for _, present in blocks]
        if sum(map(len, tiles)):
            parts = np.split(self.encode(np.concatenate(tiles)), np.cumsum([len(t) for t in tiles])[:-1])
            for into, (_, present), part in zip(found, blocks, parts, strict=True):
                into[present] = part
        return found

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Turn the features of a block that is a whole image into probabilities (r, c) float32."""
        return self.calibrated(self.logits(features))

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits into probabilities, float32."""
        return sigmoid(logits / np.float32(self.package.temperature))

    def logits(self, features: np.ndarray, slide: np.ndarray | None = None) -> np.ndarray:
        """Turn the features of a block into logits (r, c) float32, not yet divided by the temperature.

        They depend on `halo` patches around each, and on the `slide_sums` of all features of the slide; without these
        the block is taken for all that there is of it.
        """
        present = np.isfinite(features[..., 0])
        logits = features[..., 0]
        if self.package.halo and present.any():
            sums = (slide_sums(features) if slide is None else slide)[None].astype(np.float32)
            inputs = np.where(present[..., None], features, 0)[None], present[None, ..., None].astype(np.float32)
            found = self._pool.submit(self.engine.run, "context", *inputs, sums).result()[0, ..., 0]
            logits = np.where(present, found, np.nan)
        return logits

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Return the features (n, n_features) float32 of patches (n, s, s, 3) uint8, at least one."""
        size = self.engine.batch_size
        batches = (np.ascontiguousarray(pixels[i : i + size]) for i in range(0, len(pixels), size))
        return np.concatenate(list(self._pool.map(partial(self.engine.run, "encoder"), batches)))


def slide_sums(features: np.ndarray) -> np.ndarray:
    """Sum the features (..., n) of patches, NaN for none, and count them: (n + 1,) float64.

    Sums of the parts of a slide add up to those of the slide.
    """
    there = features[np.isfinite(features[..., 0])]
    return np.append(there.sum(axis=0, dtype=np.float64), len(there))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities, float32."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits))).astype(np.float32)
