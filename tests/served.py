"""`wsi-idc serve` as a process of its own, and who sends slides to it."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from browser import wait_for

PART = "application/offset+octet-stream"


class Served:
    """A server that is started, killed and started again on one folder and port; `headers` go with each request."""

    def __init__(self, data: Path, *arguments: str, headers: dict[str, str] | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.data, self._arguments, self._headers = data, arguments, headers or {}
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [sys.executable, "-m", "wsi_idc", "serve", "--data", self.data, "--port", self.port, "--no-open"]
        # NiceGUI does otherwise where it believes that it is tested.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        with (self.data.parent / "server.txt").open("ab") as said:
            self.process = subprocess.Popen(
                [*map(str, command), *self._arguments], stdout=said, stderr=said, env=environment
            )
        wait_for(lambda: self.process.poll() is not None or self.ask("GET", "/openapi.json")[0] == 200, 60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask for something; returns status, headers by small letters, and body; (0, {}, b"") without an answer."""
        named = self._headers | {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.address + path, body, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
        except OSError:
            return 0, {}, b""

    def tus(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        return self.ask(method, path, body, Tus_Resumable="1.0.0", **headers)

    def begin(self, name: str, size: int, mpp: float | None = None) -> str:
        """Begin an upload; returns the path of it."""
        metadata = f"filename {_base64(name)}" + ("" if mpp is None else f",mpp {_base64(str(mpp))}")
        status, headers, body = self.tus("POST", "/api/uploads", Upload_Length=str(size), Upload_Metadata=metadata)
        assert status == 201, body
        return headers["location"]

    def part(self, path: str, offset: int, content: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return self.tus("PATCH", path, content, Upload_Offset=str(offset), Content_Type=PART, **headers)

    def send(self, name: str, content: bytes, mpp: float | None = None) -> str:
        """Upload all of a file; returns its id."""
        path = self.begin(name, len(content), mpp)
        assert self.part(path, 0, content)[0] == 204
        return path.rpartition("/")[2]

    def job(self, key: str) -> dict:
        return json.loads(self.ask("GET", f"/api/jobs/{key}")[2])

    def ended(self, key: str, seconds: float = 60.0) -> dict:
        """Wait until a job is done or failed."""
        wait_for(lambda: self.job(key)["state"] in ("done", "failed"), seconds)
        return self.job(key)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
