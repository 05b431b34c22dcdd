"""Commands killed at random moments, by any signal, the parent or a worker of it, until all that they do is done.

`benchmarks/soak.py` prints what came of it. `benchmarks/interrupted.py` measures what a kill costs.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import SEGMENT, Bench, Tried
from interrupted import contents

from wsi_idc.annotations.read import read_annotations
from wsi_idc.errors import WsiIdcError
from wsi_idc.runs.manifest import Manifest
from wsi_idc.runs.results.folder import OUTPUTS
from wsi_idc.runs.upkeep.verify import verify
from wsi_idc.viewer.desk import NAME, Desk

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers import SMALL, write_patches

SLIDES = 20
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# A process that was sent a signal has ended by then, or hangs.
_PATIENCE_S = 30.0
# So often a command may end by itself with work left: as where a slide was killed in each of its tries.
_TRIES = 5
# Edits a run for ever, and saves.
_EDITING = """
import sys
from pathlib import Path
from wsi_idc.viewer import edits
from wsi_idc.viewer.desk import Desk
from wsi_idc.viewer.edits import History

session, corner = Desk().begin(Path(sys.argv[1]), "one"), [(1, 1), (9, 1), (9, 9), (1, 9)]
print("begun", flush=True)
while True:
    session.do("one", lambda held: edits.draw([o for o in held if o.geometry.bounds[2] > 9], corner, (500, 400)))
    session.save("one", "soak")
    session.move("one", History.undo)
"""


@dataclass(slots=True)
class Kills:
    """How many are still to be done, what was killed by which signal, and what was wrong, in words."""

    left: int
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def send(self, process: subprocess.Popen[bytes], workers: Sequence[int]) -> bool:
        """Send a signal to a command or to one of its workers, where it has some; say whether to the command."""
        worker = self.rng.choice(workers) if workers and self.rng.random() < 0.4 else None
        number = self.rng.choice(SIGNALS)
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker or process.pid, number)
            self.done[f"{number.name} of {'a worker' if worker else 'the command'}"] += 1
            self.left -= 1
        return worker is None

    def told(self) -> str:
        """Say what was killed how often."""
        return ", ".join(f"{count} x {what}" for what, count in sorted(self.done.items()))


def killed(command: Sequence[str | Path], kills: Kills, longest_s: float, after: Callable[[], None]) -> None:
    """Run a command again and again, each killed within `longest_s`, until it ends by itself with exit status 0.

    `after` each that was killed the state that it left is looked at. Once no kills are left it is let alone.
    """
    ended = 0
    # What is started in the background of a shell would hand on that it heeds none.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    while True:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            hit = False
            while kills.left > 0 and not hit:
                try:
                    process.wait(kills.rng.uniform(0, longest_s))
                    break
                except subprocess.TimeoutExpired:
                    hit = kills.send(process, _workers(process.pid))
            try:
                said, _ = process.communicate(timeout=_PATIENCE_S if hit else 20 * _PATIENCE_S)
            except subprocess.TimeoutExpired:
                kills.faults.append(f"{command[3]} hung")
                process.kill()
                continue
        if hit:
            after()
        elif process.returncode == 0:
            return
        elif (ended := ended + 1) > _TRIES:
            kills.faults.append(f"exit status {process.returncode}: {said.decode(errors='replace')[-300:]}")
            return
        # Python's own are not meant, as of a worker that finds its parent gone before anything of this tool is run.
        if b"/wsi_idc/" in said.partition(b"Traceback")[2]:
            kills.faults.append(f"a traceback: {said.decode(errors='replace')[-300:]}")


def _workers(process: int) -> list[int]:
    """Return the processes that a command has started to do its work."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
    except OSError:
        return []


def segmenting(bench: Bench, count: int, seed: int) -> list[Tried]:
    """Folders of small slides, on two workers."""
    slides, whole, kills = bench.sections(SLIDES), bench.output(), Kills(count, random.Random(seed))
    begun = time.monotonic()
    subprocess.run([*SEGMENT, slides[0].parent, "-o", whole, "--workers", "2"], check=True, capture_output=True)
    lasts = time.monotonic() - begun
    right = {slide.stem: contents(whole / slide.stem) for slide in slides}
    names = {p.name for p in whole.iterdir()}
    halves, differ, left, folders = 0, 0, 0, 0
    while kills.left > 0:
        output, folders = bench.output(), folders + 1
        command = [*SEGMENT, slides[0].parent, "-o", output, "--workers", "2"]

        def look(output: Path = output) -> None:
            nonlocal halves
            done = [name for name in right if (output / name / OUTPUTS[-1]).exists()]
            halves += sum(outputs(output / name) != outputs(whole / name) for name in done)

        killed(command, kills, lasts / 4, look)
        differ += sum(contents(output / name) != content for name, content in right.items())
        beside = {p.name for p in output.iterdir()} ^ names
        left += len(beside) + len(list(output.glob("*/.[upe]*")))
        kills.faults += _wrong(output, len(slides))
        shutil.rmtree(output)
    figure = (
        f"{sum(kills.done.values())} kills ({kills.told()}) in {folders} folders of {SLIDES} slides: {halves} "
        f"half-written, {differ} that differ from a run left alone, {left} things left behind, "
        f"{len(kills.faults)} other faults"
    )
    bench.raw["segmenting"] = kills.faults
    holds = not (halves or differ or left or kills.faults)
    how = "`segment FOLDER --workers 2` killed at random moments, and begun again until it is done"
    return [Tried("Results appear whole or not at all, whatever kills the run", how, figure, holds)]


def outputs(run: Path) -> dict[str, object]:
    """Return the content of the outputs of a run, without what is beside them."""
    return {n: c for n, c in contents(run).items() if Path(n).parts[0] in OUTPUTS}


def _wrong(output: Path, count: int) -> list[str]:
    found = verify(output)
    rows = Counter(row["state"] for row in Manifest(output / "manifest.csv").read().values())
    wrong = [*found.faults, *(fault for run in found.runs for fault in (*run.faults, *run.extra))]
    return wrong + ([f"{output}: {dict(rows)}"] if rows != {"done": count} else [])


def training(bench: Bench, count: int, seed: int) -> list[Tried]:
    """A tiny training."""
    patches = write_patches(bench.folder / "patches", ("8865", "8913", "8867", "8914"))
    settings = [word for value in (*SMALL, "fit.epochs=12", "optimizer.average=0.9") for word in ("--set", value)]
    train = [sys.executable, "-m", "wsi_idc", "train", patches, *settings, "-o"]
    kills, whole, runs, differ = Kills(count, random.Random(seed)), bench.output(), 0, 0
    begun = time.monotonic()
    subprocess.run([*train, whole], check=True, capture_output=True)
    lasts = time.monotonic() - begun
    right = _trained(whole)
    while kills.left > 0:
        output, runs = bench.output(), runs + 1
        killed([*train, output], kills, 1.5 * lasts, lambda: None)
        found = _trained(output)
        differ += sum(found.get(name) != right.get(name) for name in found.keys() | right.keys())
        shutil.rmtree(output)
    figure = (
        f"{sum(kills.done.values())} kills ({kills.told()}) in {runs} trainings: {differ} files that differ from those "
        f"of one left alone, {len(kills.faults)} other faults"
    )
    bench.raw["training"] = kills.faults
    how = "`train` on patches made up, killed at random moments, and begun again until it is done"
    return [Tried("A training that is killed goes on", how, figure, not (differ or kills.faults))]


def _trained(run: Path) -> dict[str, object]:
    """Return what a training left: its files by name, weights and results by content, but for times and charts."""
    import keras

    found: dict[str, object] = {str(p.relative_to(run)): None for p in run.rglob("*") if p.is_file()}
    found = {name: None for name in found if not name.startswith("events")}
    weights = keras.saving.load_model(run / "encoder.keras", compile=False).get_weights()
    found["encoder.keras"] = [w.tobytes() for w in weights]
    found["val-logits.csv"] = (run / "val-logits.csv").read_bytes()
    found["run.json"] = json.loads((run / "run.json").read_text())
    return found


def editing(bench: Bench, count: int, seed: int) -> list[Tried]:
    """Outlines of a run edited and saved over and over, as the viewer does."""
    (slide, *_), output, rng = bench.sections(SLIDES), bench.output(), random.Random(seed)
    subprocess.run([*SEGMENT, slide, "-o", output], check=True, capture_output=True)
    run, broken, lost = output / slide.stem, 0, 0
    least = len(read_annotations(run).annotations)
    for _ in range(count):
        with subprocess.Popen([sys.executable, "-c", _EDITING, run], stdout=subprocess.PIPE) as process:
            if process.stdout is None or process.stdout.readline() != b"begun\n":
                broken += 1
            time.sleep(rng.uniform(0, 0.5))
            broken += process.poll() is not None
            process.send_signal(rng.choice(SIGNALS[:2]))
        try:
            if (run / NAME).exists():
                read_annotations(run / NAME)
            desk = Desk()
            lost += len(desk.begin(run, "two").history.now.outlines) < least
            desk.close()
        except WsiIdcError:
            broken += 1
    left = [p.name for p in run.iterdir() if p.name not in (*OUTPUTS, NAME, ".lock", ".editing")]
    left += [p.name for p in (run / ".editing").iterdir() if p.name not in ("draft.geojson", ".lock", ".holder")]
    bench.raw["editing"] = left
    figure = (
        f"{count} kills: {broken} times not readable, {lost} times with regions lost, {len(left)} things left behind"
    )
    how = "outlines of a run edited and saved without pause, killed at random moments, and opened again"
    return [Tried("Edits are never lost nor half-written", how, figure, not (broken or lost or left))]
