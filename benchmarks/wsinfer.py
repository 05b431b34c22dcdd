"""Time and memory of `wsi-idc segment` beside those of WSInfer, a peer, with the same network on the same slides.

    python -m venv other
    other/bin/pip install wsinfer "tiffslide<3" "zarr<3" "setuptools<81" openslide-python openslide-bin
    python benchmarks/wsinfer.py --python other/bin/python SLIDE... [--repeat 3] [--json FILE]

`idc-patch` is built again in torch from its Keras weights, and the two have to agree to 1e-3 in probability. WSInfer
runs by its own command, from tissue to GeoJSON, with patches of the same size at the same um/px; only its registry of
models, which it wants from the network, is replaced by an empty one. It runs as `pip install` leaves it and in other
settings; wsi-idc is compared with whichever of them is the fastest, and with whichever takes the least memory. All run
in turn, so that a busy machine slows all; the table gives medians. Memory is the peak of the largest process, measured
by the kernel; beside it that of all processes of the command, shared pages once, looked at twice a second. Linux only.

WSInfer has a Python of its own, which runs this file too (`STAGES`), isolated, since the file is named as the package.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

AGREE = 1e-3
# What reads the slide, and options of `wsinfer run`; without them 32 patches a batch, a worker for each core.
SETTINGS = {
    "WSInfer, TiffSlide": ("tiffslide", ()),
    "WSInfer, OpenSlide": ("openslide", ()),
    "WSInfer, OpenSlide, 1 worker": ("openslide", ("--num-workers", "1")),
    "WSInfer, OpenSlide, 0 workers": ("openslide", ("--num-workers", "0")),
    "WSInfer, OpenSlide, --speedup": ("openslide", ("--speedup",)),
}
OURS = {"wsi-idc, idc-patch": "idc-patch", "wsi-idc, idc-context": "idc-context"}


@dataclass
class Result:
    """What one contestant took for one slide in each turn; `failure` is the end of what it said, where it failed."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    largest_mb: list[float] = field(default_factory=list)
    together_mb: list[float] = field(default_factory=list)
    patches: int = 0
    failure: str = ""


def export(model: str, out: str) -> None:
    """Write the weights of a patch model, and what it makes of patches of noise and of a painted section."""
    import numpy as np

    from wsi_idc.demo.painter import paint_section
    from wsi_idc.inference.engines import OnnxEngine, load_keras
    from wsi_idc.inference.predictor import Predictor
    from wsi_idc.models.registry import find_model

    package = find_model(model)
    size, side = package.patch_size, 20
    width = side * size * package.mpp / 1000
    rng = np.random.default_rng(0)
    painted = paint_section(width, width, package.mpp).pixels[: side * size, : side * size]
    painted = painted.reshape(side, size, side, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    patches = np.concatenate([painted, rng.integers(0, 256, (100, size, size, 3), dtype=np.uint8)])
    found = Predictor(package, OnnxEngine(package)).patches(patches)
    arrays: dict[str, Any] = {"patches": patches, "probabilities": found}
    # In the order in which the layers were made: Keras numbers those of a kind, the first without a number.
    numbered = [(layer.name.rpartition("_")[2], layer) for layer in load_keras(package, "encoder").layers]
    for _, layer in sorted(numbered, key=lambda v: int(v[0]) if v[0].isdigit() else 0):
        for part, array in enumerate(layer.get_weights()):
            kind = type(layer).__name__
            arrays[f"{kind}/{sum(v.startswith(f'{kind}/') and v.endswith(f'/{part}') for v in arrays)}/{part}"] = array
    facts = {"mpp": package.mpp, "patch_size": size, "temperature": package.temperature, "classes": package.classes}
    np.savez(out, facts=json.dumps(facts), **arrays)


def convert(weights: str, folder: str) -> None:
    """Build the network in torch; write TorchScript and its config.json, and print the largest difference."""
    import numpy as np
    import torch
    from torch import nn

    arrays = np.load(weights)
    facts = json.loads(str(arrays["facts"]))
    taken: dict[str, int] = {}

    def following(kind: str) -> list[torch.Tensor]:
        """Return the weights of the next layer of a kind."""
        number = taken[kind] = taken.get(kind, -1) + 1
        found = [name for name in arrays.files if name.startswith(f"{kind}/{number}/")]
        return [torch.from_numpy(arrays[name]) for name in sorted(found)]

    def convolution(kernel: torch.Tensor, stride: int, padding: int, groups: int = 1) -> nn.Module:
        layer = nn.Conv2d(kernel.shape[1] * groups, len(kernel), kernel.shape[2:], stride, padding, 1, groups, False)
        layer.weight.data = kernel.contiguous()
        return layer

    def plain(stride: int, padding: int = 0) -> nn.Module:
        return convolution(following("Conv2D")[0].permute(3, 2, 0, 1), stride, padding)

    def separable() -> nn.Module:
        depth, point = following("SeparableConv2D")
        depthwise = convolution(depth.permute(2, 3, 0, 1), 1, 1, groups=depth.shape[2])
        return nn.Sequential(depthwise, convolution(point.permute(3, 2, 0, 1), 1, 0))

    def normalization() -> nn.Module:
        gamma, beta, mean, variance = following("BatchNormalization")
        layer = nn.BatchNorm2d(len(gamma), eps=1e-3)
        state = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}
        layer.load_state_dict(state, strict=False)
        return layer

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shortcut = nn.Sequential(plain(2), normalization())
            main = [separable(), normalization(), nn.ReLU(), separable(), normalization()]
            # From sides of 25, 13 and 7: TensorFlow's 'same' is symmetric for odd ones.
            self.main = nn.Sequential(*main, nn.MaxPool2d(3, 2, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.main(x) + self.shortcut(x))

    # For even ones it pads one more behind than before.
    stem = [nn.ZeroPad2d((1, 2, 1, 2)), plain(2), normalization(), nn.ReLU()]
    last, (kernel, bias) = nn.Linear(384, 2), following("Dense")
    # Two classes by softmax: 0 and the calibrated logit.
    last.weight.data = torch.stack([torch.zeros(len(kernel)), kernel[:, 0] / facts["temperature"]])
    last.bias.data = torch.tensor([0.0, float(bias[0]) / facts["temperature"]])
    network = nn.Sequential(*stem, Block(), Block(), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last).eval()
    pixels = (torch.from_numpy(arrays["patches"]).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        script = torch.jit.trace(network, pixels[:2])
        found = torch.softmax(script(pixels), dim=1)[:, 1].numpy()
    script.save(str(Path(folder) / "model.pt"))
    transform = [
        {"name": "Resize", "arguments": {"size": facts["patch_size"]}},
        {"name": "ToTensor"},
        {"name": "Normalize", "arguments": {"mean": 3 * [0.5], "std": 3 * [0.5]}},
    ]
    config = {"spec_version": "1.0", "architecture": "separable_residual_cnn", "num_classes": 2, "transform": transform}
    config |= {"class_names": facts["classes"], "spacing_um_px": facts["mpp"], "patch_size_pixels": facts["patch_size"]}
    (Path(folder) / "config.json").write_text(json.dumps(config))
    click.echo(np.abs(found - arrays["probabilities"]).max())


def run(reader: str, *arguments: str) -> None:
    """Be the command `wsinfer`, with an empty registry and a reader of slides chosen before anything takes it."""
    import wsinfer.wsi
    import wsinfer_zoo.client

    wsinfer_zoo.client.load_registry = lambda: wsinfer_zoo.client.ModelRegistry({})
    wsinfer.wsi.set_backend(reader)
    from wsinfer.cli import cli, infer

    # It asks for as many processes to write GeoJSON as workers, and cannot have none.
    write = infer.write_geojsons
    infer.write_geojsons = lambda csvs, folder, workers: write(csvs, folder, max(1, workers))
    cli.cli(list(arguments), prog_name="wsinfer")


STAGES: dict[str, Callable[..., None]] = {"--export": export, "--convert": convert, "--run": run}


def stage(python: Path | str, name: str, *arguments: Path | str) -> list[str]:
    """Return the command that runs a function of this file in another Python, away from this folder."""
    return [str(python), "-I", __file__, name, *map(str, arguments)]


def together(session: int) -> float:
    """Return the megabytes that the processes of a session hold, pages that several share counted once."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) == session:
                lines = (entry / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except OSError:  # it ended
            continue
    return total / 1024


def measure(command: Sequence[str], result: Result, log: Path) -> None:
    """Run a command to its end and add what it took to `result`, or why it failed."""
    peaks, ended = [0.0], threading.Event()

    def watch(session: int) -> None:
        while not ended.wait(0.5):
            peaks.append(together(session))

    with log.open("wb") as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        watcher = threading.Thread(target=watch, args=(process.pid,))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    ended.set()
    watcher.join()
    result.seconds.append(seconds)
    result.cpu_seconds.append(usage.ru_utime + usage.ru_stime)
    result.largest_mb.append(usage.ru_maxrss / 1024)
    result.together_mb.append(max(*peaks, usage.ru_maxrss / 1024))
    if process.returncode:
        result.failure = f"exit status {process.returncode}: {log.read_text(errors='replace').strip()[-300:]}"


def turn(name: str, slide: Path, python: Path, model: Path, result: Result) -> None:
    """Let a contestant do a slide once, into a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "out", Path(folder) / "log"
        if name in OURS:
            command = [sys.executable, "-m", "wsi_idc", "segment", str(slide), "-o", str(out), "--model", OURS[name]]
            made, word = out / slide.stem / "summary.json", '"patches": '
        else:
            reader, options = SETTINGS[name]
            slides = Path(folder) / "slides"  # of which it takes a folder
            slides.mkdir()
            (slides / slide.name).symlink_to(slide.resolve())
            files = ("--config", model / "config.json", "--model-path", model / "model.pt")
            command = stage(python, "--run", reader, "run", "--wsi-dir", slides, "--results-dir", out, *files, *options)
            made, word = out / "model-outputs-geojson" / f"{slide.stem}.geojson", '"Feature"'
        measure(command, result, log)
        if made.is_file():
            text = made.read_text()
            result.patches = text.count(word) if name in SETTINGS else json.loads(text)["patches"]
        elif not result.failure:
            result.failure = f"no {made.name}: {log.read_text(errors='replace').strip()[-300:]}"


def table(slide: Path, results: dict[str, Result]) -> list[str]:
    """Return the Markdown lines of a slide: medians, and ratios to the best that WSInfer did."""
    middle = statistics.median
    theirs = [v for name, v in results.items() if name in SETTINGS and not v.failure]
    fastest = min((middle(v.seconds) for v in theirs), default=float("nan"))
    leanest = min((middle(v.largest_mb) for v in theirs), default=float("nan"))
    lines = ["", f"| {slide.name} | patches | s | of the fastest | CPU s | MB | of the leanest | MB, all processes |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, v in results.items():
        seconds, largest = middle(v.seconds), middle(v.largest_mb)
        cells = [f"{v.patches}", f"{seconds:.1f}", f"{seconds / fastest:.2f}", f"{middle(v.cpu_seconds):.1f}"]
        cells += [f"{largest:.0f}", f"{largest / leanest:.2f}", f"{middle(v.together_mb):.0f}"]
        if v.failure:
            cells = ["failed", f"{seconds:.1f}", "", "", f"{largest:.0f}", "", f"{middle(v.together_mb):.0f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


@click.command()
@click.argument("slides", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--python", required=True, type=click.Path(exists=True, path_type=Path), help="One that has WSInfer.")
@click.option("--setting", "settings", multiple=True, type=click.Choice(list(SETTINGS)), help="Only these of WSInfer.")
@click.option("--repeat", default=3, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the numbers there.")
def main(
    slides: tuple[Path, ...], python: Path, settings: tuple[str, ...], repeat: int, json_file: Path | None
) -> None:
    """Print a table for each slide, and write the numbers where asked."""
    names = [*OURS, *(settings or SETTINGS)]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        subprocess.run(stage(sys.executable, "--export", "idc-patch", model / "weights.npz"), check=True)
        command = stage(python, "--convert", model / "weights.npz", model)
        difference = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        click.echo(f"The two networks differ by at most {difference:.1e} in probability.")
        if difference > AGREE:
            raise click.ClickException(f"that is more than {AGREE}: it is not the same network")
        found: dict[str, dict[str, Result]] = {}
        for slide in slides:
            subprocess.run(["cat", slide], stdout=subprocess.DEVNULL, check=True)  # into the cache of the disk
            results = found[slide.name] = {name: Result() for name in names}
            for name in names * repeat:
                if not results[name].failure:
                    turn(name, slide, python, model, results[name])
                    click.echo(f"{slide.name} {name}: {results[name].seconds[-1]:.1f} s", err=True)
            click.echo("\n".join(table(slide, results)))
            for name, result in results.items():
                if result.failure:
                    click.echo(f"\n{name} failed: {result.failure}")
    if json_file:
        numbers = {slide: {name: asdict(v) for name, v in results.items()} for slide, results in found.items()}
        json_file.write_text(json.dumps({"difference": difference, "slides": numbers}, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in STAGES:
        STAGES[sys.argv[1]](*sys.argv[2:])
    else:
        main()
