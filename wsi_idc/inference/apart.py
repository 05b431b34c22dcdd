"""Run Python in a process of its own: an engine may take half a gigabyte, which would stay, or its process down."""

from __future__ import annotations

import os
import subprocess
import sys


def run_apart(code: str, *arguments: str, limit_s: float) -> subprocess.CompletedProcess[str] | None:
    """Run `code` with `arguments` as its sys.argv[1:], where this process finds its modules; None beyond `limit_s`."""
    environment = {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path),
    }
    try:
        return subprocess.run(
            [sys.executable, "-P", "-c", code, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        return None
