"""Jobs for the workers of a cluster, in a module that loads at once."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi_idc.errors import ScaleError
from wsi_idc.runs.executors.executor import Listener


def do(number: int, task: tuple[str, Path], listener: Listener) -> int:
    """A job of the cluster: what a task, a verb and a path, says."""
    verb, path = task
    if verb == "sleep":
        path.write_text(str(os.getpid()))
        time.sleep(600)
    if verb == "die":
        with path.open("a") as stream:
            stream.write("x")
        os.kill(os.getpid(), signal.SIGSEGV)
    if verb == "die with the worker":
        with path.open("a") as stream:
            stream.write("x")
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    if verb == "wrong":
        raise ScaleError("no scale")
    listener.planned(number, 5)
    listener.advanced(number, 2)
    listener.advanced(number, 3)
    return os.getpid()


@dataclass
class Counted:
    """A job that says for how many processes on its machine it was made."""

    processes: int = 1

    def shared_by(self, processes: int) -> Counted:
        return Counted(processes)

    def __call__(self, number: int, task: Any, listener: Listener) -> int:
        return self.processes
