"""Made for the tests: a network whose weights are known, as a package and in plain NumPy, and patches to train on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from PIL import Image
from scipy.ndimage import convolve

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.base.grid import Grid
from wsi_idc.comparison.agreement import PROBABILITY
from wsi_idc.data.kaggle import LabelledPatch
from wsi_idc.models.package import ModelPackage, load_package

if TYPE_CHECKING:
    import keras
    import onnx

# What a run of a painted slide is warned of: it is not what the model was trained on.
UNLIKE = "unlike the slides that the model was trained on, by what the model sees of its tissue"
# What takes long to import.
HEAVY = {"tensorflow", "keras", "numpy", "zarr", "dask", "skimage", "scipy", "shapely", "onnxruntime", "matplotlib"}
HEAVY |= {"sklearn", "pydantic", "keras_tuner"}
# Settings of a training on `write_patches` that takes a second or two.
SMALL = [
    "data.cache=memory",
    "model.options={patch_size = 16, widths = [4, 8], dropout = 0.1}",
    "optimizer.learning_rate=0.02",
    "fit.batch_size=16",
    "fit.epochs=2",
]
FACTS = {
    "name": "test",
    "version": "1",
    "description": "for tests",
    "licence": "Apache-2.0",
    "mpp": 4.0,
    "patch_size": 50,
    "halo": 0,
    "classes": ["non-IDC", "IDC"],
    "threshold": 0.5,
    "temperature": 1.0,
    "training_data": {"description": "none", "patients": 1, "patches": 1},
    "metrics": {},
}


def provenance(grid: Grid) -> dict[str, object]:
    """What a heatmap states of itself, as docs/outputs.md has it, that a run would leave."""
    parameters = {"threshold": 0.5, "low": None, "min_area_mm2": 0.04, "min_hole_mm2": 0.0, "smooth_um": 5.0}
    parameters |= {"bands": [], "min_tissue": 0.1, "mpp": None, "engine": "onnx", "tta": False, "stride": 50}
    return {
        "slide": "painted.tif",
        "slide_fingerprint": "a" * 64,
        "model_sha256": "b" * 64,
        "parameters": parameters,
        "result_format": 3,
        "wsi_idc": "0.1.0",
        "model": "test",
        "engine": "onnx",
        "patch_um": grid.patch_um,
        "grid": {
            "slide_size": list(grid.slide_size),
            "slide_mpp": list(grid.slide_mpp),
            "patch_size": grid.patch_size,
            "mpp": grid.mpp,
            "shift": list(grid.shift),
        },
    }


def write_context_package(folder: Path, halo: int = 2) -> ModelPackage:
    """Write a model whose logit is the summed darkness (-1 white to 1 black) of the present patches within `halo`."""
    import keras
    from keras import layers

    from wsi_idc.training.package import write_package

    pixels = keras.Input((50, 50, 3), dtype="uint8", name="pixels")
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(-2 / 255, offset=1.0)(pixels))
    mean = layers.Dense(2, use_bias=False)
    encoder = keras.Model(pixels, mean(x))
    # The second feature is always 0: tf2onnx may export convolutions of a single channel wrongly.
    mean.set_weights([np.array([[1 / 3, 0]] * 3, np.float32)])

    features = keras.Input((None, None, 2), name="features")
    present = keras.Input((None, None, 1), name="present")
    total = layers.Conv2D(2, 2 * halo + 1, padding="same", use_bias=False, kernel_initializer="ones")
    half = layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(0.5))
    context = keras.Model([features, present], half(total(layers.Multiply()([features, present]))))
    return write_package(folder, FACTS | {"name": "context", "halo": halo}, {"encoder": encoder, "context": context})


def write_unchecked_package(folder: Path, network: keras.Model, **facts: object) -> ModelPackage:
    """Write a package around a Keras network of patches, without the checks of the exporter."""
    folder.mkdir()
    network.save(folder / "encoder.keras")
    digest = hashlib.sha256((folder / "encoder.keras").read_bytes()).hexdigest()
    document = FACTS | {
        "format": "wsi-idc-model",
        "format_version": 1,
        "preprocessing": {"input": "uint8 RGB, NHWC", "scaling": "inside the network"},
        "networks": {"encoder": {"keras": {"file": "encoder.keras", "sha256": digest}}},
    }
    (folder / "model.json").write_text(json.dumps(document | facts))
    return load_package(folder)


def write_onnx_package(folder: Path, networks: Mapping[str, onnx.ModelProto], **facts: object) -> ModelPackage:
    """Write a package around ONNX networks, by name, without any check."""
    folder.mkdir(parents=True)
    files = {}
    for name, network in networks.items():
        data = network.SerializeToString()
        (folder / f"{name}.onnx").write_bytes(data)
        files[name] = {"onnx": {"file": f"{name}.onnx", "sha256": hashlib.sha256(data).hexdigest()}}
    document = FACTS | {
        "format": "wsi-idc-model",
        "format_version": 1,
        "preprocessing": {"input": "uint8 RGB, NHWC", "scaling": "inside the network"},
        "networks": files,
    }
    (folder / "model.json").write_text(json.dumps(document | facts))
    return load_package(folder)


def onnx_network(*middle: onnx.NodeProto, **initializers: object) -> onnx.ModelProto:
    """Make an ONNX encoder of nodes between `mean`, (n,) the brightness of each patch, and `logit`.

    Brightness is from 0, black, to 1, white. Numbers in `initializers` become constants of their names.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["sum"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Div", ["sum", "full"], ["mean"]),
        *middle,
        helper.make_node("Unsqueeze", ["logit", "last"], ["logits"]),
    ]
    constants = {"full": np.float32(255), "last": np.array([1])}
    constants |= {name: np.asarray(value, np.float32) for name, value in initializers.items()}
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 50, 50, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def no_number_between(low: float, high: float) -> onnx.ModelProto:
    """Make an ONNX encoder whose logit is no number for patches of a brightness in between, else some number."""
    from onnx import helper

    middle, half = (low + high) / 2, (high - low) / 2
    nodes = [
        helper.make_node("Sub", ["mean", "middle"], ["off"]),
        helper.make_node("Mul", ["off", "off"], ["square"]),
        helper.make_node("Sub", ["square", "half"], ["beyond"]),
        helper.make_node("Log", ["beyond"], ["logit"]),
    ]
    return onnx_network(*nodes, middle=middle, half=half * half)


def summed_darkness(pixels: np.ndarray, present: np.ndarray, halo: int = 2) -> np.ndarray:
    """Compute the probabilities of the context model by hand; pixels (r * 50, c * 50, 3), present (r, c) bool."""
    rows, cols = present.shape
    darkness = 1 - 2 * pixels.reshape(rows, 50, cols, 50, 3).astype(np.float64).mean((1, 3, 4)) / 255
    out = np.full(present.shape, np.nan)
    for r, c in zip(*np.nonzero(present), strict=True):
        around = np.s_[max(0, r - halo) : r + halo + 1, max(0, c - halo) : c + halo + 1]
        out[r, c] = 1 / (1 + np.exp(-darkness[around][present[around]].sum()))
    return out


class NumpyEngine:
    """The context model in plain NumPy, quick enough for properties over many shapes."""

    name = "numpy"

    def __init__(self, halo: int, batch_size: int = 64) -> None:
        self.batch_size, self.lanes = batch_size, 1
        self._kernel = np.ones((2 * halo + 1, 2 * halo + 1))

    def run(self, network: str, *inputs: np.ndarray) -> np.ndarray:
        if network == "encoder":
            return (1 - 2 * inputs[0].mean((1, 2, 3), dtype=np.float64)[:, None] / 255).astype(np.float32)
        features, present, _ = inputs
        total = convolve((features * present)[0, ..., 0].astype(np.float64), self._kernel, mode="constant")
        return total[None, ..., None].astype(np.float32)


def box(*bounds: float, p: float | None = None, name: str | None = None) -> Annotation:
    """A rectangle as an annotation, of a class and with its highest probability, if given."""
    return Annotation(shapely.box(*bounds), name, measurements={} if p is None else {PROBABILITY: p})


def contents(folder: Path) -> dict[str, object]:
    """Every file of a run with its bytes; summary.json without its timings, which no two runs share."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    summary = json.loads(found["summary.json"])
    del summary["timings"]
    return found | {"summary.json": summary}


def numpy_package(halo: int = 0, **changes: object) -> ModelPackage:
    """Describe the model that `NumpyEngine` computes, without weights."""
    facts = FACTS | {"halo": halo, "sha256": "0" * 64} | changes
    return ModelPackage(folder=Path("none"), networks={"encoder": {}}, **facts)


def dark_and_bright(labels: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """Noise (n, size, size, 3) uint8 that is dark for label 1 and bright for 0, less clearly than a threshold needs."""
    rng = np.random.default_rng(seed)
    mean = 170 - 80 * labels + rng.normal(0, 25, len(labels))
    pixels = mean[:, None, None, None] + rng.normal(0, 30, (len(labels), size, size, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def write_patches(folder: Path, patients: Iterable[str], size: int = 16, rows: int = 4, cols: int = 4) -> Path:
    """Write sections of `rows` x `cols` patches in Kaggle's layout; the upper left quarter and one more are IDC."""
    for seed, patient in enumerate(patients):
        label = np.zeros((rows, cols), int)
        label[: rows // 2, : cols // 2] = label[-1, seed % cols] = 1
        pixels = dark_and_bright(label.ravel(), size, seed)
        for number, (y, x) in enumerate(np.ndindex(rows, cols)):
            place = folder / patient / str(label[y, x])
            place.mkdir(parents=True, exist_ok=True)
            name = f"{patient}_idx5_x{x * size + 1}_y{y * size + 1}_class{label[y, x]}.png"
            Image.fromarray(pixels[number]).save(place / name)
    return folder


def listed(labels: Iterable[int], patients: int = 4, size: int = 8) -> list[LabelledPatch]:
    """Describe patches, without files, in a row for each of some patients."""
    return [
        LabelledPatch(Path("none"), str(n % patients), n // patients * size + 1, 1, label)
        for n, label in enumerate(labels)
    ]


def overlap(low: Fraction, high: Fraction, pixel: int) -> Fraction:
    return max(Fraction(0), min(high, Fraction(pixel + 1)) - max(low, Fraction(pixel)))


def by_hand(values: np.ndarray, n_out: int, start: float, step: float) -> list[float]:
    out = []
    for i in range(n_out):
        low = Fraction(start) + i * Fraction(step)
        high = low + Fraction(step)
        total = sum(overlap(low, high, j) * int(v) for j, v in enumerate(values))
        out.append(float(total / Fraction(step)))
    return out


def least(described: Mapping[str, object]) -> object:
    """The least that a JSON Schema takes: of objects the required keys, of lists as few as may be, 0 and "".

    A pattern is that of a sha256.
    """
    kind = described.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if "enum" in described:
        return described["enum"][0]
    if kind == "object":
        known, others = described.get("properties", {}), described.get("additionalProperties", {})
        return {key: least(known.get(key, others)) for key in described.get("required", ())}
    if "exclusiveMaximum" in described:
        return described["exclusiveMaximum"] / 2
    if kind in ("number", "integer"):
        return max(0, described.get("minimum", 0), described.get("exclusiveMinimum", -1) + 1)
    if "pattern" in described:
        return "0" * 64
    if kind == "array":
        return [least(described["items"])] * described.get("minItems", 0)
    return {"string": "x" * described.get("minLength", 0), "boolean": False}.get(kind)
