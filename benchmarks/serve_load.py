"""Twenty uploads at once to `wsi-idc serve`, half of them junk, one broken off, the server killed in the middle.

    python benchmarks/serve_load.py

Prints what became of each, and memory and handles of the server. Exit status 1 where a good one is not done, a bad one
does not say why, or anything was done twice.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

from wsi_idc.demo.painter import paint_section
from wsi_idc.slides.write import write_slide

GOOD = 10
PART = 64 << 10


class Server:
    """The server, started again on the same folder after it was killed."""

    def __init__(self, data: Path) -> None:
        """Start it at a free port."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.data = data
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            sys.executable,
            "-m",
            "wsi_idc",
            "serve",
            "--data",
            str(self.data),
            "--port",
            str(self.port),
            "--no-open",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while self.ask("GET", "/openapi.json")[0] != 200:
            time.sleep(0.2)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Ask for something; status 0 where nobody answers."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            line.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = line.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, {}, b""
        finally:
            line.close()

    def jobs(self) -> list[dict]:
        """Return all jobs; none where nobody answers."""
        status, _, body = self.ask("GET", "/api/jobs")
        return json.loads(body) if status == 200 else []

    def held(self) -> tuple[float, int]:
        """Return the memory of the server in MiB, and how many handles it has open."""
        place = Path(f"/proc/{self.process.pid}")
        pages = int((place / "statm").read_text().split()[1])
        return pages * 4096 / 2**20, len(list((place / "fd").iterdir()))


def send(server: Server, name: str, content: bytes, breaks: bool) -> None:
    """Upload in parts, as a client of tus does: after a break it asks how much is there, and goes on."""
    tus, path = {"Tus_Resumable": "1.0.0"}, ""
    named = f"filename {base64.b64encode(name.encode()).decode()}"
    while True:
        if not path:
            status, found, _ = server.ask(
                "POST", "/api/uploads", **tus, Upload_Length=str(len(content)), Upload_Metadata=named
            )
            path = found.get("location", "")
        status, found, _ = server.ask("HEAD", path, **tus) if path else (0, {}, b"")
        if status == 200:
            at = int(found["upload-offset"])
            if at == len(content):
                return
            part = content[at : at + PART]
            header = {"Upload_Offset": str(at), "Content_Type": "application/offset+octet-stream"}
            if breaks and at >= len(content) // 2:
                breaks = False
                break_off(server.port, path, at, part)
            else:
                server.ask("PATCH", path, part, **tus, **header)
        else:
            time.sleep(0.3)


def break_off(port: int, path: str, at: int, part: bytes) -> None:
    """Send half of a part, and hang up."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(
            f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {at}\r\n"
            f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(part)}\r\n\r\n".encode()
        )
        line.sendall(part[: len(part) // 2])


def junk(number: int) -> tuple[str, bytes]:
    """Return what is no slide: noise, a cut TIFF, zips that leave their folder or are bombs, pictures without scale."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped.tif", b"x") if number % 2 else archive.writestr("bomb.tif", bytes(200_000_000))
    kinds = [
        (f"noise {number}.svs", random.Random(number).randbytes(300_000)),
        (f"cut {number}.tif", b"II*\0\x08\0\0\0\xff\xff" + bytes(1000)),
        (f"zip {number}.zip", stream.getvalue()),
        (f"picture {number}.png", b"\x89PNG\r\n\x1a\n" + bytes(1000)),
        (f"../../{number}/passwd", b"root:x:0:0"),
    ]
    return kinds[number % len(kinds)]


def lines(server: Server, key: str, stage: str) -> int:
    """Return how often the log of a job tells a stage."""
    log = server.data / "jobs" / key / "out" / "log.jsonl"
    text = log.read_text().splitlines() if log.is_file() else []
    return sum(json.loads(line)["stage"] == stage for line in text)


def load(server: Server, files: list[tuple[str, bytes]]) -> list[tuple[float, int]]:
    """Send all files at once, kill the server and start it again, and wait; returns what it held, second by second."""
    senders = [
        threading.Thread(target=send, args=(server, name, content, name == "slide 0.tif")) for name, content in files
    ]
    for sender in senders:
        sender.start()
    while ended(server.jobs()) < 3:
        time.sleep(0.5)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    server.start()
    for sender in senders:
        sender.join()
    held = []
    while ended(server.jobs()) < len(files):
        held.append(server.held())
        time.sleep(1)
    return [*held, server.held()]


def ended(jobs: list[dict]) -> int:
    """Return how many jobs are done or failed."""
    return sum(job["state"] in ("done", "failed") for job in jobs)


def main() -> int:
    """Make the files, and print what becomes of them."""
    with tempfile.TemporaryDirectory() as folder:
        files = [junk(number) for number in range(GOOD)]
        for number in range(GOOD):
            section = paint_section(1.6, 1.2, 4.0, seed=number)
            path = write_slide(Path(folder) / "slide.tif", section.pixels, 4.0, downsamples=(1,), compression="deflate")
            files.append((f"slide {number}.tif", path.read_bytes()))
        random.Random(0).shuffle(files)
        server, begun = Server(Path(folder) / "data"), time.monotonic()
        held = load(server, files)
        found = server.jobs()
        bad = report(server, found, {name for name, _ in files if name.startswith("slide")})
        memory, handles = ([values[at] for values in held] for at in (0, 1))
        warm = len(held) // 4
        print(f"{len(found)} uploads in {time.monotonic() - begun:.0f} s; server killed once, an upload broken off")
        print(f"server: {memory[warm]:.0f} to {memory[-1]:.0f} MiB, {handles[warm]} to {handles[-1]} handles")
        escaped = list(Path(folder).rglob("*escaped*"))
        print(f"files outside their folder: {len(escaped)}; not as they should be: {bad}")
        server.process.send_signal(signal.SIGINT)
        server.process.wait()
        return 1 if bad or escaped or len(found) != len(files) else 0


def report(server: Server, found: list[dict], good: set[str]) -> int:
    """Print what became of each upload; return how many are not as they should be."""
    bad = 0
    for job in sorted(found, key=lambda one: one["name"]):
        ends, is_good = lines(server, job["id"], "done"), job["name"] in good
        right = (
            job["state"] == "done" and ends == 1 if is_good else job["state"] == "failed" and len(job["reason"]) > 20
        )
        bad += not right
        print(
            f"{job['name']:16} {job['state']:7} computed {ends} times {job['reason'][:90]}{'' if right else '  WRONG'}"
        )
    return bad


if __name__ == "__main__":
    raise SystemExit(main())
