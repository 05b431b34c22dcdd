"""`wsi-idc serve` killed at random moments, and the processes of its jobs, while slides are uploaded and outlined."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from bench import Bench, Tried
from interrupted import contents
from killed import SIGNALS
from serve_load import Server, lines, send

SLIDES = 6
# Seconds between kills at most, and until a server that was sent a signal has ended.
_BETWEEN_S, _PATIENCE_S = 2.0, 30.0
# A batch that is not done by then never is.
_LONGEST_S = 1200.0


def serving(bench: Bench, count: int, seed: int) -> list[Tried]:
    """Batches of uploads to a server that is killed without pause; a job whose own process was killed is begun anew."""
    files = [(f"slide {i}.tif", path.read_bytes()) for i, path in enumerate(bench.sections(SLIDES))]
    rng, done, faults, differ, batches = random.Random(seed), Counter[str](), list[str](), 0, 0
    right = _batch(bench.folder / "whole", files, 0, rng, done, faults)
    while sum(done.values()) < count:
        data, batches = bench.folder / f"data{batches}", batches + 1
        found = _batch(data, files, count - sum(done.values()), rng, done, faults)
        differ += sum(found.get(name) != whole for name, whole in right.items())
        shutil.rmtree(data)
    figure = (
        f"{sum(done.values())} kills ({', '.join(f'{n} x {what}' for what, n in sorted(done.items()))}) in {batches} "
        f"batches of {SLIDES} uploads: {differ} that differ from those of a server left alone, "
        f"{len(faults)} other faults"
    )
    bench.raw["serving"] = faults
    how = "`serve` and its jobs killed at random moments while slides are uploaded, and begun again"
    promise = "A server that is killed loses no upload and does no job twice"
    return [Tried(promise, how, figure, not (differ or faults))]


def _batch(
    data: Path, files: list[tuple[str, bytes]], kills: int, rng: random.Random, done: Counter[str], faults: list[str]
) -> dict[str, dict[str, object]]:
    """Upload all, killing meanwhile; return what the results of each are."""
    server = Server(data)
    senders = [threading.Thread(target=send, args=(server, *file, False)) for file in files]
    for sender in senders:
        sender.start()
    # One that was begun five times is given up until somebody begins it again.
    until = time.monotonic() + _LONGEST_S
    while sum(job["state"] == "done" for job in server.jobs()) < len(files) and time.monotonic() < until:
        time.sleep(rng.uniform(0, _BETWEEN_S))
        kills -= kills > 0 and _kill(server, rng, done, faults)
        for job in server.jobs():
            if job["state"] == "failed":
                server.ask("POST", f"/api/jobs/{job['id']}/again")
    jobs = server.jobs()
    faults += [f"{job['name']}: {job['state']} {job['reason']}" for job in jobs if job["state"] != "done"]
    if (names := Counter(job["name"] for job in jobs)) != Counter(name for name, _ in files):
        faults.append(f"jobs {dict(names)}")
    found = {job["name"]: _results(server, job) for job in jobs if job["state"] == "done"}
    faults += [f"{job['name']}: done twice" for job in jobs if lines(server, job["id"], "done") > 1]
    server.process.send_signal(signal.SIGINT)
    server.process.wait(_PATIENCE_S)
    faults += [f"left behind: {p.relative_to(data)}" for p in data.rglob("*") if p.name.startswith((".unf", ".part"))]
    faults += [f"left of an upload: {p.name}" for p in (data / "uploads").glob("*")]
    return found


def _kill(server: Server, rng: random.Random, done: Counter[str], faults: list[str]) -> bool:
    """Send a signal to the server, which is begun again, or to the process of a job; False where that is gone."""
    job = rng.choice(found) if (found := _jobs(server.data)) and rng.random() < 0.4 else None
    number = rng.choice(SIGNALS)
    if job:
        with contextlib.suppress(ProcessLookupError):
            os.kill(job, number)
            done[f"{number.name} of a job"] += 1
            return True
        return False
    server.process.send_signal(number)
    try:
        server.process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        faults.append(f"{number.name}: the server hung")
        server.process.kill()
        server.process.wait()
    done[f"{number.name} of the server"] += 1
    server.start()
    return True


def _jobs(data: Path) -> list[int]:
    """Return the processes of jobs, of this server or of one before it."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes()
            if b"wsi_idc.serve.process" in words and str(data).encode() in words:
                found.append(int(place.name))
    return found


def _results(server: Server, job: dict) -> dict[str, object]:
    """Return the digest of each file of the results, without what names the job."""
    folder = server.data / "jobs" / job["id"] / "out"
    found: dict[str, object] = {}
    for run in (p for p in folder.iterdir() if (p / "summary.json").is_file()):
        for name, content in contents(run).items():
            if isinstance(content, bytes):
                found[name] = hashlib.sha256(content.replace(job["id"].encode(), b"ID")).hexdigest()
    return found
