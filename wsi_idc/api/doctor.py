"""Look at an installation: what is there, which engines and readers work, where files go and whether that will do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import Requirement

from wsi_idc.base.files import is_held, locked
from wsi_idc.data.cache import cache_folder
from wsi_idc.errors import WsiIdcError
from wsi_idc.inference.apart import run_apart
from wsi_idc.inference.engines import ENGINES
from wsi_idc.inference.gpu import computes_on_gpu, has_gpu
from wsi_idc.models.registry import DEFAULT_MODEL, list_models, user_models
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.write import write_slide

OK, MISSING, FAULT = "ok", "missing", "fault"
# For those who change this project, not for those who use it.
_NOT_FOR_USE = {"dev", "docs", "test"}
# Loading TensorFlow from a slow drive takes half a minute; what takes far longer hangs.
_LONGEST_S = 150
# Exit status of the next where a processor lacks a precision: nothing is broken, and another engine is to be taken.
_LACKS_PRECISION = 3
# Run apart, with the name of an engine.
_TRY_ENGINE = f"""
import sys
from wsi_idc.errors import PrecisionError, WsiIdcError
from wsi_idc.inference.choose import make_engine
from wsi_idc.inference.engines import ENGINES, engine_versions
from wsi_idc.models.registry import find_model
try:
    make_engine(sys.argv[1], find_model())
    print(engine_versions(sys.argv[1])[ENGINES[sys.argv[1]].needs])
except PrecisionError as error:
    print(error, file=sys.stderr)
    sys.exit({_LACKS_PRECISION})
except WsiIdcError as error:
    sys.exit(str(error))
"""
# Codecs of whole-slide images beside JPEG, as tifffile names them.
_CODECS = {
    "deflate": "zlib",
    "JPEG 2000": "jpeg2000",
    "JPEG XL": "jpegxl",
    "LERC": "lerc",
    "LZMA": "lzma",
    "LZW": "lzw",
    "WebP": "webp",
    "Zstandard": "zstd",
}
_COLOUR = (180, 120, 170)
# A lossy codec moves a flat colour by a few grey values.
_NEAR = 6.0
# A result takes about 1 MB, the unfinished features of a large slide some hundred times that.
_ROOM = 5e9


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at: its group and name, "ok", "missing" (optional, not there) or "fault", and a line of words."""

    group: str
    name: str
    state: str
    detail: str


def examine(output: Path = Path()) -> list[Finding]:
    """Try what a run needs, on slides of a few pixels, and look at the disk on which `output` lies or would lie.

    Nothing stays behind and no other host is asked. What is "missing" is an extra that was not installed.

    >>> from wsi_idc.api.doctor import examine
    >>> {finding.state for finding in examine() if finding.group == "readers"}
    {'ok'}
    """
    return [*_machine(), *_packages(), *_models(), *_engines(), *_readers(), *_places(output)]


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "Python", OK, f"{platform.python_version()} on {platform.platform()}")
    yield Finding("machine", "cores", OK, f"{len(os.sched_getaffinity(0))}" if _affine() else f"{os.cpu_count()}")
    if not has_gpu():
        yield Finding("machine", "GPU", MISSING, "no NVIDIA GPU, or none that this process may use; CPUs do")
    elif computes_on_gpu("onnx"):
        yield Finding("machine", "GPU", OK, "ONNX Runtime computes on it")
    elif importlib.util.find_spec("keras") and computes_on_gpu("keras"):
        yield Finding("machine", "GPU", OK, "Keras computes on it")
    else:
        yield Finding("machine", "GPU", FAULT, "there is one, but no engine computes on it: install the extra [gpu]")


def _affine() -> bool:
    return hasattr(os, "sched_getaffinity")


def _packages() -> Iterator[Finding]:
    """Hold what is installed against what the project asks for, the core and each extra."""
    yield Finding("packages", "wsi-idc", OK, importlib.metadata.version("wsi-idc"))
    wanted: dict[str, list[Requirement]] = {}
    for text in importlib.metadata.requires("wsi-idc") or []:
        requirement = Requirement(text)
        asked = re.search(r'extra == "([^"]+)"', str(requirement.marker or ""))
        wanted.setdefault(asked[1] if asked else "", []).append(requirement)
    for extra, requirements in sorted(wanted.items()):
        if extra not in _NOT_FOR_USE:
            yield _of_extra(extra, requirements)


def _of_extra(extra: str, requirements: list[Requirement]) -> Finding:
    absent: list[str] = []
    old: list[str] = []
    there: list[str] = []
    for requirement in requirements:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(requirement.name)
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        (there if fits else old).append(
            f"{requirement.name} {version}" + ("" if fits else f" ({requirement.specifier})")
        )
    name = f"[{extra}]" if extra else "core"
    way_out = f'; in the folder of wsi-idc\'s source: pip install ".{name if extra else ""}"'
    if old:
        return Finding("packages", name, FAULT, f"too old: {', '.join(old)}{way_out}")
    if absent:
        state = MISSING if extra else FAULT
        return Finding("packages", name, state, f"not installed: {', '.join(absent)}{way_out}")
    return Finding("packages", name, OK, ", ".join(there))


def _models() -> Iterator[Finding]:
    packages, errors = list_models()
    for package in packages:
        try:
            for network, forms in package.networks.items():
                for form in forms:
                    package.read_weights(network, form)
        except WsiIdcError as error:
            yield Finding("models", package.name, FAULT, str(error))
            continue
        default = ", the default" if package.name == DEFAULT_MODEL else ""
        yield Finding("models", package.name, OK, f"{package.version}{default}; weights as published")
    yield from (Finding("models", "unreadable", FAULT, str(unreadable)) for unreadable in errors)


def _engines() -> Iterator[Finding]:
    for name, kind in ENGINES.items():
        if importlib.util.find_spec(kind.needs) is None:
            yield Finding("engines", name, MISSING, f"{kind.needs} is not installed")
            continue
        done = run_apart(_TRY_ENGINE, name, limit_s=_LONGEST_S)
        if done is None:
            yield Finding("engines", name, FAULT, f"does not load within {_LONGEST_S} s")
            continue
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            yield Finding("engines", name, MISSING if done.returncode == _LACKS_PRECISION else FAULT, reason)
        else:
            yield Finding("engines", name, OK, f"{done.stdout.split()[-1]} computes {DEFAULT_MODEL}")


def _readers() -> Iterator[Finding]:
    """Write slides of a flat colour in each form that can be written here, and read them."""
    import tifffile

    pixels = np.full((512, 512, 3), _COLOUR, np.uint8)
    form: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "metadata": None}
    form |= {"resolution": (1e4, 1e4), "resolutionunit": "CENTIMETER"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        yield _read("TIFF, JPEG", write_slide(folder / "jpeg.tif", pixels, 1.0, downsamples=(1, 2)))
        ome = folder / "slide.ome.tif"
        axes: dict[str, Any] = {"axes": "YXS", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0}
        tifffile.imwrite(ome, pixels, photometric="rgb", tile=(256, 256), metadata=axes)
        yield _read("OME-TIFF", ome)
        yield _read("OME-Zarr", _write_zarr(folder / "slide.zarr", pixels))
        for name, codec in _CODECS.items():
            path = folder / f"{codec}.tif"
            try:
                tifffile.imwrite(path, pixels, compression=codec, **form)
            except (ValueError, RuntimeError, ImportError, OSError) as error:
                yield Finding("readers", f"TIFF, {name}", MISSING, f"not in imagecodecs as installed ({error})")
                continue
            yield _read(f"TIFF, {name}", path)


def _write_zarr(path: Path, pixels: np.ndarray) -> Path:
    """Write an OME-Zarr image (0.5) of one level at 1 um/px."""
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", data=np.moveaxis(pixels, 2, 0), chunks=(3, 256, 256))
    space = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]}
    multiscale: dict[str, Any] = {"axes": [{"name": "c", "type": "channel"}, *space], "datasets": [level]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    return path


def _read(name: str, path: Path) -> Finding:
    try:
        with Slide(path) as slide:
            found = slide.read(128, 128, 32, 32, mpp=4.0)
            by = slide.describe()["reader"]
    except WsiIdcError as error:
        return Finding("readers", name, FAULT, str(error))
    off = float(np.abs(found.astype(float) - _COLOUR).max())
    if off > _NEAR:
        return Finding("readers", name, FAULT, f"read by {by}, and wrongly: colours are {off:.0f} grey values off")
    return Finding("readers", name, OK, f"by {by}")


def _places(output: Path) -> Iterator[Finding]:
    for name, folder in (("decoded patches, engine rates", cache_folder()), ("own models", user_models())):
        used = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if folder.is_dir() else 0
        yield Finding("places", name, OK, f"{folder}: {used / 1e6:.1f} MB")
    yield _disk("temporary files", Path(tempfile.gettempdir()))
    there = next(p for p in (output.absolute(), *output.absolute().parents) if p.exists())
    yield _disk("output", there)


def _disk(name: str, folder: Path) -> Finding:
    """Say whether a folder can be written to and locked, and has room."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".wsi-idc-doctor-") as place, locked(Path(place) / "lock"):
            if not is_held(Path(place) / "lock"):
                return Finding("places", name, FAULT, f"{folder}: locks do not hold there; write to a local disk")
    except (OSError, WsiIdcError) as error:
        return Finding("places", name, FAULT, f"{folder}: cannot be written or locked ({error})")
    free = shutil.disk_usage(folder).free
    room = f"{folder}: writable, locks hold, {free / 1e9:.1f} GB free"
    return Finding("places", name, OK if free > _ROOM else FAULT, room if free > _ROOM else f"{room}: too little")
