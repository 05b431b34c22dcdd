"""What computes the networks of a model: ONNX Runtime, Keras and OpenVINO behind one small protocol."""

from __future__ import annotations

import importlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from dask.system import CPU_COUNT

from wsi_idc.base.extras import quiet_tensorflow
from wsi_idc.base.inputs.documents import parse_json
from wsi_idc.base.inputs.packed import check_zip
from wsi_idc.errors import ModelError
from wsi_idc.inference.onnx_file import CONTEXT_INPUTS, read_onnx
from wsi_idc.inference.openvino_engine import OpenVinoBf16Engine, OpenVinoEngine
from wsi_idc.models.package import ModelPackage

# Builds of ONNX Runtime send telemetry unless told not to before they are loaded; slides stay where they are.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


# Patches that keep a GPU busy for about as long as it takes to hand them over; not measured.
GPU_BATCH = 512


_CUDA = "CUDAExecutionProvider"


# Until then safe mode could be got round, to run code out of a file of weights (CVE-2025-1550 and those after it).
SAFE_KERAS = (3, 15)


# Bytes of a network unpacked and of its description, and a side of its layers: larger than any of patches.
_LARGEST, _LARGEST_CONFIG, _LONGEST_SIDE = 1 << 31, 1 << 24, 1 << 15
_CONFIG = "config.json"


class Engine(Protocol):
    """Runs the networks of one package. Calls come from at most `lanes` threads at a time.

    `name` stands for all that the numbers depend on, the precision too. `weights` is the form that it takes; `needs`
    the package that it computes with, which `pip install .` brings or the `extra`. What is not `automatic` changes
    more than 0.2 % of patches beside the others, and is only taken by name.
    """

    name: str
    weights: str
    needs: str
    extra: str
    automatic: bool
    batch_size: int
    lanes: int

    def run(self, network: str, *inputs: np.ndarray) -> np.ndarray:
        """Run "encoder" on (n, s, s, 3) uint8, or "context" on features, presence and slide as in model.schema.json."""
        ...


class OnnxEngine:
    """ONNX Runtime, on its CPU provider or on CUDA where the installed build has it."""

    name = "onnx"
    weights, needs, extra, automatic = "onnx", "onnxruntime", "", True
    # Measured by benchmarks/engines.py: on a CPU small batches stay in the cache.
    batch_size = 8

    def __init__(self, package: ModelPackage, threads: int = CPU_COUNT) -> None:
        """Load the package's ONNX weights, to compute on `threads` cores.

        Raises ModelError where they are damaged, lie in other files too, or may never end; see `onnx_file`.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # What is wrong is raised; it need not be written to the terminal too.
        options.log_severity_level = 4
        options.add_session_config_entry("session.load_model_format", "ONNX")
        # A batch on each core is a sixth faster than each batch on all, and the same to the last bit on any machine.
        options.intra_op_num_threads = 1
        self.lanes = threads
        self._sessions = {}
        # Other providers that a build may have are left alone: what they compute was not compared.
        providers = [p for p in (_CUDA, "CPUExecutionProvider") if p in onnx_providers()]
        # What the neighbourhoods of a whole block took is not kept from one to the next.
        frugal = onnxruntime.RunOptions()
        frugal.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._run_options = {"encoder": onnxruntime.RunOptions(), "context": frugal}
        for network in package.networks:
            session = onnxruntime.InferenceSession(read_onnx(package, network), options, providers=providers)
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
        return session.run(None, feeds, self._run_options[network])[0]

    def stop(self) -> None:
        """End what is being computed in another thread, with an error there, and whatever is computed later."""
        for options in self._run_options.values():
            options.terminate = True


class KerasEngine:
    """Keras on whatever backend it is configured for (TensorFlow, torch or JAX)."""

    name = "keras"
    weights, needs, extra, automatic = "keras", "keras", "train", True
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
    with quiet_tensorflow():
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
            return read_network(path)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{package.folder / package.networks[network]['keras']['file']}: Keras refuses these weights "
                f"({str(error).splitlines()[0]})"
            ) from error


def read_network(path: Path) -> Any:
    """Read a `keras.Model` from a .keras file; raises OSError or ValueError where that is damaged, or holds code."""
    import keras

    check_zip(path, _LARGEST)
    with zipfile.ZipFile(path) as archive:
        if _CONFIG not in archive.namelist() or archive.getinfo(_CONFIG).file_size > _LARGEST_CONFIG:
            raise ValueError("holds no description of a network")
        _check_sides(parse_json(archive.read(_CONFIG)))
    try:
        # Safe mode refuses Lambda layers and anything else that would run code from the file.
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError):
        raise
    except Exception as error:
        # Whatever a damaged file makes of Keras: TypeError, KeyError, AttributeError, MemoryError, ...
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _check_sides(config: Any) -> None:
    """Raise ValueError where a network would have sides that no weights fill: Keras makes room before it looks."""
    waiting = [config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, int) and one > _LONGEST_SIDE:
            raise ValueError(f"a layer with a side of {one:,}")
        if isinstance(one, dict):
            waiting += [value for name, value in one.items() if "seed" not in name and not name.endswith("_id")]
        elif isinstance(one, list):
            waiting += one


ENGINES: dict[str, type[OnnxEngine] | type[KerasEngine] | type[OpenVinoEngine]] = {
    engine.name: engine for engine in (OnnxEngine, KerasEngine, OpenVinoEngine, OpenVinoBf16Engine)
}


def onnx_providers() -> list[str]:
    """Return what the installed build of ONNX Runtime can compute with, by name."""
    import onnxruntime

    return onnxruntime.get_available_providers()


def engine_versions(name: str | None) -> dict[str, str]:
    """Return the versions of what the engine `name` computes with, none for None, as the packages themselves say.

    Not as the installer does: ONNX Runtime comes in distributions of several names (onnxruntime-gpu, -openvino).
    """
    if name == "onnx":
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__}
    if name and name.startswith("openvino"):
        return {"openvino": importlib.import_module("openvino").__version__}
    if name == "keras":
        import keras

        backend = keras.backend.backend()
        return {"keras": keras.__version__, backend: importlib.import_module(backend).__version__}
    return {}
