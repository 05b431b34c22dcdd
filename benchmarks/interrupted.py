"""What being killed costs: chunks that a run, or a cluster of which a worker is killed, computes again.

`benchmarks/streaming.py` runs these; this file is a command only for the runs that are killed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from bench import THREADS, Bench, Figure

from wsi_idc import Settings, find_model
from wsi_idc.heatmap.encode import Chunk, Encoded, Encoder
from wsi_idc.inference.predictor import Predictor
from wsi_idc.runs.batch import segment_slides
from wsi_idc.runs.run import Runner

KILLS = 20


def log_chunks(log: Path) -> None:
    """Have this process append to `log` each pack of chunks that it begins to encode, and each that it has written."""
    call, features, here = Encoder.__call__, Predictor.features_of, threading.local()

    def say(what: str) -> None:
        with log.open("ab", buffering=0) as stream:
            stream.write(f"{what} {time.time():.4f} {here.pack}\n".encode())

    def logged_call(self: Encoder, chunks: Sequence[Chunk]) -> list[Encoded]:
        here.pack, here.begun = f"{self.slide.path} {chunks[0][0].top} {chunks[0][0].left}", False
        encoded = call(self, chunks)
        if here.begun:
            say("written")
        return encoded

    def logged_features(self: Predictor, blocks: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        here.begun = True
        say("begun")
        return features(self, blocks)

    Encoder.__call__, Predictor.features_of = logged_call, logged_features  # type: ignore[method-assign]


def counted(log: Path) -> tuple[int, int, int]:
    """Return the packs of a log, how often one was begun again, and how often though it had been written."""
    begun, written, wasted = Counter[str](), set(), 0
    for line in log.read_text().splitlines():
        what, _, pack = line.split(" ", 2)
        if what == "written":
            written.add(pack)
        else:
            wasted += pack in written
            begun[pack] += 1
    return len(begun), begun.total() - len(begun), wasted


def contents(folder: Path) -> dict[str, object]:
    """Return the content of each file of a run, without the timings."""
    found: dict[str, Any] = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    found["summary.json"] = {k: v for k, v in json.loads(found["summary.json"]).items() if k != "timings"}
    return found


def kills(bench: Bench) -> list[Figure]:
    """One run killed again and again, at random moments while it encodes: elsewhere a kill costs no chunk."""
    slide, log, rng, done = bench.slide(20_000), bench.folder / "kills.log", random.Random(0), 0
    whole, killed = bench.output(), bench.output()

    def start(output: Path, log: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, __file__, slide, output, log])

    start(whole, bench.folder / "whole.log").wait()
    lines = (bench.folder / "whole.log").read_text().splitlines()
    lasts = float(lines[-1].split()[1]) - float(lines[0].split()[1])
    log.touch()
    while done < KILLS:
        size = log.stat().st_size
        with start(killed, log) as process:
            while process.poll() is None and log.stat().st_size == size:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 1.5 * lasts / KILLS))
            if process.poll() is not None:
                break
            process.kill()
            done += 1
    start(killed, log).wait()
    chunks, again, wasted = counted(log)
    one, other = contents(whole), contents(killed)
    differ = sum(one.get(name) != other.get(name) for name in one.keys() | other.keys())
    bench.raw["kills"] = {"kills": done, "chunks": chunks, "again": again, "again though written": wasted}
    behind = f"{again} of {chunks} packs of chunks begun again in all, {wasted} of them had been written; {done} kills"
    return [
        Figure("chunks encoded again / kill -9 / chunks in flight", again / max(1, done) / THREADS, 1, behind),
        Figure("files that differ from those of a run left alone", differ, 0, f"of {len(one)}, all but the timings"),
    ]


def cluster(bench: Bench) -> list[Figure]:
    """A folder on a Dask cluster of two workers, one of which is killed when half of the slides are done."""
    from distributed import Client, LocalCluster, WorkerPlugin

    slides, output, log, killed = bench.sections(8 if bench.quick else 16), bench.output(), bench.folder / "c.log", []

    class Log(WorkerPlugin):
        def setup(self, worker: object) -> None:
            log_chunks(log)

    def kill_one() -> None:
        while not killed and len(list(output.glob("*/summary.json"))) < len(slides):
            if len(list(output.glob("*/summary.json"))) >= len(slides) // 2:
                for chunk in output.glob("*/.unfinished/features*/[0-9]*.f32"):
                    os.kill(pid := int((chunk.parents[2] / ".holder").read_text().split()[1]), 9)
                    killed.append(pid)
                    return
            time.sleep(0.01)

    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**settings) as made, Client(made) as client:
        client.register_plugin(Log())
        (killer := threading.Thread(target=kill_one, daemon=True)).start()
        outcomes = segment_slides(slides, output, find_model(), Settings(chunk=2), client=client)
        killer.join()
    chunks, again, wasted = counted(log)
    states = Counter(getattr(o, "summary", {"state": str(o)})["state"] for o in outcomes.values())
    bench.raw["cluster"] = {"states": states, "killed": len(killed), "chunks": chunks, "again": again, "wasted": wasted}
    behind = f"{len(killed)} of 2 workers killed; {chunks} packs of chunks, {again} begun again"
    return [
        Figure("cluster: slides not done", len(slides) - states["done"], 0, f"of {len(slides)}; {behind}"),
        Figure("cluster: chunks encoded again that had been written", wasted, 0, behind),
    ]


@click.command()
@click.argument("slide", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.argument("log", type=click.Path(path_type=Path))
def main(slide: Path, output: Path, log: Path) -> None:
    """Segment a slide in small chunks, which are logged."""
    log_chunks(log)
    Runner(find_model(), Settings(chunk=2, threads=THREADS)).run(slide, output)


if __name__ == "__main__":
    main()
