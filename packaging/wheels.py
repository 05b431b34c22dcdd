"""For which Pythons and machines all that an extra needs has wheels, as the table of docs/installation.md. Needs uv.

python packaging/wheels.py
"""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = {
    "Linux": "x86_64-unknown-linux-gnu",
    "Linux on ARM": "aarch64-unknown-linux-gnu",
    "macOS on ARM": "aarch64-apple-darwin",
    "Windows": "x86_64-pc-windows-msvc",
}
_PROJECT = Path(__file__).parents[1] / "pyproject.toml"
_MACOS = {"MACOSX_DEPLOYMENT_TARGET": "15.0"}


def has_wheels(extra: str, python: str, machine: str) -> bool:
    """Whether versions of all that an extra needs, "" for none, can be chosen that have wheels there."""
    command = ["uv", "pip", "compile", "--quiet", "--only-binary", ":all:", "--python-version", python]
    command += ["--python-platform", machine, *(["--extra", extra] if extra else []), str(_PROJECT)]
    done = subprocess.run(command, env=os.environ | _MACOS, capture_output=True, text=True, check=False)
    if done.returncode and "No solution found" not in done.stderr:
        raise SystemExit(done.stderr)
    return done.returncode == 0


def main() -> None:
    """Print the table, a row an extra."""
    extras = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    print("| what |", " | ".join(PYTHONS), "|")
    print("|---" * (len(PYTHONS) + 1) + "|")
    for extra in ("", *(name for name in extras if name not in ("test", "dev"))):
        cells = []
        for python in PYTHONS:
            there = [name for name, machine in MACHINES.items() if has_wheels(extra, python, machine)]
            missing = [name for name in MACHINES if name not in there]
            cells.append("none" if not there else f"not {', '.join(missing)}" if missing else "all")
        print(f"| {f'`[{extra}]`' if extra else 'the tool itself'} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
