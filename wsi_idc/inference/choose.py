"""Take the engine that finishes first on this machine, start-up included, by measuring it once."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import re
import time
from pathlib import Path

import numpy as np
import platformdirs
from dask.system import CPU_COUNT
from filelock import FileLock, Timeout

from wsi_idc.base.extras import missing
from wsi_idc.base.inputs.documents import read_json
from wsi_idc.errors import ModelError
from wsi_idc.inference.apart import run_apart
from wsi_idc.inference.bounded import LONGEST_S, ROOM, memory_for, time_for
from wsi_idc.inference.engines import ENGINES, Engine, OnnxEngine, onnx_providers
from wsi_idc.inference.gpu import computes_on_gpu, has_gpu
from wsi_idc.inference.predictor import Predictor
from wsi_idc.inference.probe import probe
from wsi_idc.models.package import ModelPackage

_log = logging.getLogger(__name__)

# ONNX Runtime does so many patches in about ten seconds on two cores, and loads in a tenth of one: no engine that has
# to import TensorFlow first would be done much earlier, so measuring would cost more than it gains.
WORTH_MEASURING = 20_000
# Importing TensorFlow from a slow drive takes half a minute; what takes far longer hangs.
_LIMIT_S = 150.0
# How ONNX Runtime says that it got no memory, or was stopped.
_NO_ROOM, _STOPPED = re.compile("allocate|bad_alloc"), "terminate flag"
# Bytes of what was measured of all models.
_LARGEST = 1 << 22
# An engine that could not be run may have been mended: a day later it is tried again.
_TRY_AGAIN_S = 24 * 3600.0


def make_engine(name: str, package: ModelPackage, threads: int = CPU_COUNT) -> Engine:
    """Make the engine `name` (one of `ENGINES`) for a package, to compute on `threads` cores.

    Raises ModelError where the package has no weights for it, what runs it is not installed, or what it gives for a few
    patches is of another form or no number.
    """
    if name not in ENGINES:
        raise ModelError(f"no engine {name!r}; known: auto, {', '.join(ENGINES)}")
    kind = ENGINES[name]
    if kind.weights not in package.formats():
        raise ModelError(f"{package.folder}: the model has no {kind.weights} weights; use --engine auto")
    try:
        return _probed(name, package, threads)
    except ModelError:
        raise
    except ImportError as error:
        extra = "gpu" if name == "keras" and has_gpu() else kind.extra
        raise ModelError(f"the engine {name}: {missing(error, extra)}, or take --engine auto") from error
    except Exception as error:  # What an engine raises for weights that do not fit is its own affair.
        reason = str(error).splitlines()[0] if str(error) else ""
        if isinstance(error, MemoryError) or _NO_ROOM.search(reason):
            reason = f"they take more than {ROOM >> 30} GiB of memory for one patch; is it a model of patches?"
        elif _STOPPED in reason:
            reason = f"they take longer than {LONGEST_S:.0f} s for a few patches; is it a model of patches?"
        else:
            reason = f"{type(error).__name__}: {reason}"
        raise ModelError(f"{package.folder}: the engine {name} cannot run its weights ({reason})") from error


def _probed(name: str, package: ModelPackage, threads: int) -> Engine:
    """Make an engine and try it on a few patches, within bounds where it computes ONNX on a CPU."""
    # OpenVINO cannot be stopped: what it is given, ONNX Runtime has computed before.
    if name != "onnx" and ENGINES[name].weights == "onnx":
        _probed("onnx", package, 1)
    # CUDA has addresses for far more than it takes.
    if name != "onnx" or has_gpu():
        engine = ENGINES[name](package, threads)
        probe(engine, package)
        return engine
    files = [package.folder / network["onnx"]["file"] for network in package.networks.values()]
    with memory_for(sum(file.stat().st_size for file in files if file.is_file())):
        bounded = OnnxEngine(package, threads)
        with time_for(bounded.stop):
            probe(bounded, package)
    return bounded


def choose_engine(wanted: str, package: ModelPackage, n_patches: int) -> str:
    """Return the engine `wanted`, or for "auto" what computes on a GPU, else what is done first with `n_patches`.

    Without a GPU start-up counts, so fewer than `WORTH_MEASURING` patches go to ONNX Runtime unmeasured. For more, it
    and Keras are measured on this machine, once for each model, and the rates kept in the user's cache, so that later
    runs choose alike.
    """
    if wanted != "auto":
        return wanted
    forms = package.formats()
    fitting = [name for name, e in ENGINES.items() if e.automatic and e.weights in forms]
    usable = [name for name in fitting if importlib.util.find_spec(ENGINES[name].needs)]
    if not usable:
        raise ModelError(f"{package.folder}: no engine for its weights ({', '.join(sorted(forms))}) is installed")
    if len(usable) == 1:
        return usable[0]
    if has_gpu() and (on_gpu := next((e for e in usable if computes_on_gpu(e)), None)):
        return on_gpu
    if n_patches < WORTH_MEASURING:
        return "onnx"
    cost = {e: r["start_s"] + n_patches / r["patches_per_s"] for e, r in _rates(package, usable).items()}
    # Where none can be measured, loading the first one says why.
    return min(cost, key=cost.__getitem__, default=usable[0])


# What was measured of an engine, or when it was found that it cannot be run: {"failed_at": seconds since 1970}.
Rates = dict[str, float]


def _rates(package: ModelPackage, engines: list[str]) -> dict[str, Rates]:
    """Return the rates of those engines that can be run here, measured once for all processes of this user."""
    key = f"{package.sha256[:16]}-{os.cpu_count()}-{'+'.join(sorted(onnx_providers()))}"
    cache = Path(platformdirs.user_cache_dir("wsi-idc", appauthor=False)) / "engines.json"
    if _unknown(known := _read(cache), key, engines):
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            # One at a time: engines that are measured side by side slow each other, and others wait for the result.
            with FileLock(cache.with_suffix(".lock"), timeout=(1 + len(engines)) * _LIMIT_S):
                known = _measured(package, key, engines, cache)
        except Timeout:
            _log.debug("%s: another process keeps it; engines are chosen unmeasured", cache)
        except OSError:
            # A home that cannot be written costs each process a measurement, not the run.
            known = _measured(package, key, engines, cache)
    return {e: r for e, r in known.get(key, {}).items() if e in engines and "failed_at" not in r}


def _unknown(known: dict[str, dict[str, Rates]], key: str, engines: list[str]) -> list[str]:
    """Return the engines not measured yet, and those that could not be run when last tried, if that is long ago."""
    held, old = known.get(key, {}), time.time() - _TRY_AGAIN_S
    return [e for e in engines if e not in held or held[e].get("failed_at", math.inf) < old]


def _measured(package: ModelPackage, key: str, engines: list[str], cache: Path) -> dict[str, dict[str, Rates]]:
    """Measure the engines that nobody has measured by now, one after the other, and keep what is found."""
    known = _measured_here | _read(cache)
    if missing_ones := _unknown(known, key, engines):
        # Each is gone before the next: threads of one engine slow the other.
        found = {e: _measure_apart(package, e) or {"failed_at": time.time()} for e in missing_ones}
        known[key] = _measured_here[key] = known.get(key, {}) | found
        _keep(cache, known)
    return known


# For when the cache cannot be written.
_measured_here: dict[str, dict[str, Rates]] = {}


def _read(cache: Path) -> dict[str, dict[str, Rates]]:
    """Read what was measured before; none where the file is missing or not what `_keep` writes."""
    try:
        return {
            key: {engine: _checked(rates) for engine, rates in engines.items()}
            for key, engines in read_json(cache, _LARGEST).items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _checked(rates: Rates) -> Rates:
    names = ("failed_at",) if "failed_at" in rates else ("start_s", "patches_per_s")
    found = {name: float(rates[name]) for name in names}
    if not all(0 < value < math.inf for value in found.values()):
        raise ValueError(f"{rates} were not measured")
    return found


# Run with the folder of a package and the name of an engine.
_MEASURE = """
import json, pathlib, sys
from wsi_idc.inference.choose import measure
from wsi_idc.models.package import load_package
print(json.dumps(measure(load_package(pathlib.Path(sys.argv[1])), sys.argv[2])))
"""


def _measure_apart(package: ModelPackage, name: str) -> Rates | None:
    """Return what `measure` finds in a process of its own, or None where the engine cannot be run in time.

    On a processor that it was not built for TensorFlow takes its process down.
    """
    done = run_apart(_MEASURE, str(package.folder), name, limit_s=_LIMIT_S)
    if done is None:
        _log.debug("the engine %s cannot be measured within %g s", name, _LIMIT_S)
        return None
    if done.returncode:
        _log.debug("the engine %s cannot be measured (exit status %d): %s", name, done.returncode, done.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def measure(package: ModelPackage, name: str, patches: int = 256) -> Rates:
    """Measure an engine on random patches: `start_s` until it computes, then `patches_per_s`."""
    size = package.patch_size
    pixels = np.random.default_rng(0).integers(0, 256, (patches, size, size, 3), dtype=np.uint8)
    start = time.perf_counter()
    predictor = Predictor(package, ENGINES[name](package))
    predictor.encode(pixels[: predictor.engine.batch_size * predictor.engine.lanes])
    ready = time.perf_counter()
    predictor.encode(pixels)
    rate = patches / (time.perf_counter() - ready)
    return {"start_s": round(ready - start, 3), "patches_per_s": round(rate, 1)}


def _keep(cache: Path, known: dict[str, dict[str, Rates]]) -> None:
    try:
        temporary = cache.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")
        temporary.replace(cache)
    except OSError:
        return
