"""What a GPU is kept busy with: the 40x walk and a folder of sections, beside the engine alone and the arithmetic.

    python benchmarks/gpu.py [--engine onnx]... [--side 20000] [--repeat 3] [--json FILE]

For each engine: patches per second on arrays by batch size, and what share of the operations of the largest product
of matrices by the same library that is; then from slides to reports, and the share of that time in which `nvidia-smi`
finds the GPU at work; last, how far its probabilities are from those of ONNX Runtime on the CPU. Needs
`onnxruntime-gpu` in the place of `onnxruntime`, or the extra `train`. Without a GPU the same paths run on the CPU, with
the batch and the one lane of a GPU: that shows that they work, and nothing of their speed.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from bench import SEGMENT, Bench, model_at_40x, seconds

from wsi_idc import Settings, find_model, read_heatmap
from wsi_idc.inference.choose import make_engine
from wsi_idc.inference.engines import GPU_BATCH, Engine
from wsi_idc.inference.onnx_file import read_onnx
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.registry import DEFAULT_MODEL
from wsi_idc.runs.run import Runner

BATCHES = (64, 128, 256, 512, 1024, 2048)
SECTIONS, PATCHES = 20, 4096
# Side of the matrices whose product is taken for the limit, and how often they are multiplied.
MATRIX, PRODUCTS = 4096, 8
_ASKED_S = 0.1
_BUSY = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]


class Watch:
    """The shares of time in which the GPU was at work, asked for ten times a second; none without `nvidia-smi`."""

    def __enter__(self) -> Watch:
        """Begin to ask."""
        self.shares: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def _ask(self) -> None:
        while has_gpu() and not self._ended.wait(_ASKED_S):
            said = subprocess.run(_BUSY, capture_output=True, text=True, check=True).stdout
            self.shares.append(float(said.split()[0]) / 100)

    def __exit__(self, *_: object) -> None:
        """Ask no more."""
        self._ended.set()
        self._thread.join()

    @property
    def share(self) -> float | None:
        """The mean of them."""
        return statistics.mean(self.shares) if self.shares else None


def has_gpu() -> bool:
    """Say whether there is a GPU that `nvidia-smi` knows."""
    return shutil.which(_BUSY[0]) is not None


def flops(network: bytes) -> float:
    """Count the operations of one patch: two for each weight of a convolution at each place, or of a matrix product."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(network), data_prop=True)
    weights = {w.name: list(w.dims) for w in model.graph.initializer}
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    count = 0
    for node in model.graph.node:
        held = math.prod(weights.get(node.input[1], [0])) if len(node.input) > 1 else 0
        if node.op_type == "Conv":
            count += held * math.prod(shapes[node.output[0]][2:])
        elif node.op_type in ("MatMul", "Gemm"):
            count += held
    return 2.0 * count


def limit(name: str) -> float:
    """Measure the operations a second of large products of float32 matrices by the library of an engine."""
    a = np.random.default_rng(0).random((MATRIX, MATRIX), np.float32)
    if name == "keras":
        import keras

        held = keras.ops.convert_to_tensor(a)

        def product() -> None:
            last = held
            for _ in range(PRODUCTS):
                last = keras.ops.matmul(last, held)
            keras.ops.convert_to_numpy(last[:1, :1])
    else:
        import onnxruntime

        names = [f"m{n}" for n in range(PRODUCTS + 1)]
        nodes = [onnx.helper.make_node("MatMul", [names[n], "a"], [names[n + 1]]) for n in range(PRODUCTS)]
        first = onnx.helper.make_tensor_value_info(names[0], onnx.TensorProto.FLOAT, [None, MATRIX])
        last = onnx.helper.make_tensor_value_info(names[-1], onnx.TensorProto.FLOAT, [None, MATRIX])
        graph = onnx.helper.make_graph(nodes, "products", [first], [last], [onnx.numpy_helper.from_array(a, "a")])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=onnxruntime.get_available_providers()
        )

        def product() -> None:
            session.run(None, {names[0]: a})

    product()
    return 2.0 * MATRIX**3 * PRODUCTS / seconds(product)[0]


def sized(engine: Engine, batch: int) -> Engine:
    """Give an engine the batch and the one lane of a GPU."""
    engine.batch_size, engine.lanes = batch, 1
    return engine


def on_arrays(runner: Runner, name: str, repeat: int) -> dict[int, float]:
    """Measure patches per second of the encoder by batch size."""
    package = runner.package
    shape = (PATCHES if has_gpu() else BATCHES[-1], package.patch_size, package.patch_size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = {}
    for batch in BATCHES:
        predictor = Predictor(package, sized(make_engine(name, package, runner.settings.n_threads), batch))
        predictor.encode(pixels[:batch])
        found[batch] = len(pixels) / min(seconds(lambda p=predictor: p.encode(pixels))[0] for _ in range(repeat))
    return found


def from_slides(bench: Bench, runner: Runner, slides: list[Path], repeat: int) -> dict[str, Any]:
    """Measure patches per second from slides to reports, and how busy the GPU is meanwhile."""
    rates, busy = [], []
    for _ in range(repeat):
        outputs = [bench.output() for _ in slides]
        with Watch() as watch:
            took = seconds(lambda o=outputs: [runner.run(*pair) for pair in zip(slides, o, strict=True)])[0]
        patches = sum(json.loads((o / "summary.json").read_text())["patches"] for o in outputs)
        rates.append(patches / took)
        busy += [watch.share] if watch.share is not None else []
    return {"patches_s": statistics.median(rates), "busy": statistics.median(busy) if busy else None}


def beside_cpu(bench: Bench, runner: Runner, slides: list[Path]) -> dict[str, float]:
    """Compare the probabilities of slides with those of ONNX Runtime in a process that sees no GPU."""
    name, differences, changed = runner.package.name, [], []
    for slide in slides:
        here, there = bench.output(), bench.output()
        runner.run(slide, here)
        command = [*SEGMENT, str(slide), "-o", str(there), "--model", name, "--engine", "onnx"]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
        both = [read_heatmap(f / "heatmap.zarr")[0] for f in (here, there / slide.stem)]
        known = np.isfinite(both[1])
        differences.append(np.abs(both[0] - both[1])[known])
        over = [b[known] >= runner.package.threshold for b in both]
        changed.append(over[0] != over[1])
    return {
        "largest_difference": float(np.concatenate(differences).max()),
        "changed": float(np.concatenate(changed).mean()),
    }


def measure(bench: Bench, name: str, side: int, repeat: int) -> dict[str, Any]:
    """Measure an engine: on arrays, against the limit, on the 40x walk, on the folder, and beside the CPU."""
    sections = bench.sections(SECTIONS)
    near, far = (
        Runner(model_at_40x(bench, DEFAULT_MODEL), Settings(engine=name)),
        Runner(find_model(), Settings(engine=name)),
    )
    for runner in (near, far):
        runner.predictor(1)
        if not has_gpu():
            sized(runner.engines[name], GPU_BATCH)
    by_batch = on_arrays(far, name, repeat)
    of_limit = flops(read_onnx(far.package, "encoder")) * max(by_batch.values()) / limit(name)
    return {
        "by_batch": by_batch,
        "of_limit": of_limit,
        "40x": from_slides(bench, near, [bench.slide(side)], repeat),
        "folder": from_slides(bench, far, sections, repeat),
        "beside_cpu": beside_cpu(bench, far, sections[:3]),
    }


def report(name: str, found: dict[str, Any]) -> None:
    """Print what was measured of an engine."""
    click.echo(f"\n{name}: {'GPU' if has_gpu() else 'no GPU, on the CPU as if it were one'}")
    best = max(found["by_batch"].values())
    for batch, rate in found["by_batch"].items():
        default = "  default" if batch == GPU_BATCH else ""
        click.echo(f"  arrays, batch {batch:5}: {rate:9.0f} patches/s  {rate / best:.2f} of the best{default}")
    click.echo(f"  operations of the best / of a product of matrices: {found['of_limit']:.2f}")
    for what in ("40x", "folder"):
        rate, busy = found[what]["patches_s"], found[what]["busy"]
        share = "not known" if busy is None else f"{busy:.0%}"
        click.echo(f"  {what:6}: {rate:9.0f} patches/s  {rate / best:.2f} of the best on arrays; GPU at work {share}")
    beside = found["beside_cpu"]
    click.echo(
        f"  beside ONNX Runtime on the CPU: {beside['largest_difference']:.1g} at most, "
        f"{beside['changed']:.2%} of patches change class"
    )


@click.command()
@click.option("--engine", "engines", multiple=True, default=["onnx", "keras"], show_default=True)
@click.option("--side", default=20_000, show_default=True, help="Of the slide that is walked at 40x, in pixels.")
@click.option("--repeat", default=3, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(engines: tuple[str, ...], side: int, repeat: int, json_file: Path | None) -> None:
    """Print the figures, and write them where asked."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), quick=repeat == 1)
        for name in engines:
            found[name] = measure(bench, name, side, repeat)
            report(name, found[name])
    if json_file:
        json_file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
