"""The house as docs/architecture.md has it: what stands where, what is loaded when, and that all of it is installed."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"wsi_idc": "wsi_idc", "cli": "wsi_idc/cli", "models": "wsi_idc/models"}


def files_of_the_package() -> list[str]:
    """All that is to be installed, by its place in the wheel."""
    return sorted(
        f"{place}/{file.relative_to(ROOT / folder).as_posix()}"
        for folder, place in FOLDERS.items()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".md"
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the checkout, as who has just set it up does."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_three_modules_stand_beside_the_folders_and_at_most_fourteen_in_each():
    files = sorted(p.name for p in (ROOT / "wsi_idc").iterdir() if p.suffix == ".py")
    assert files == ["__init__.py", "__main__.py", "errors.py"]
    folders = Counter(p.parent.relative_to(ROOT).as_posix() for top in FOLDERS for p in (ROOT / top).rglob("*.py"))
    assert {folder: number for folder, number in folders.items() if number > 14} == {}


def test_a_format_of_annotations_is_one_module_of_at_most_150_lines():
    formats = (ROOT / "wsi_idc/annotations/formats").glob("*.py")
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in formats}
    assert {name: count for name, count in lines.items() if count > 150} == {}


def test_at_most_five_functions_are_longer_than_fifty_lines():
    files = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py")]
    functions = [
        (f"{file.stem}.{node.name}", node.end_lineno - node.lineno + 1)
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    longer = [name for name, lines in functions if lines > 50]
    assert len(longer) <= 5, longer


def test_every_module_is_named_in_the_architecture():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)/` (\|.*)$", text, re.MULTILINE))
    missing = []
    for folder in [p for p in (ROOT / "wsi_idc").iterdir() if p.is_dir()] + [ROOT / "models"]:
        names = {p.stem if p.stem != "__init__" else f"{p.parent.name}/" for p in folder.rglob("*.py")} - {
            f"{folder.name}/"
        }
        missing += [f"{folder.name}/{name}" for name in sorted(names) if f"`{name}`" not in rows[folder.name]]
    assert missing == []


def test_errors_stand_in_one_place():
    defined = re.compile(r"^class \w+\(.*(?:Error|Exception)\):", re.MULTILINE)
    # What click is to say belongs to the command line.
    files = [p for folder in ("wsi_idc", "models") for p in (ROOT / folder).rglob("*.py") if p.name != "errors.py"]
    assert [p.name for p in files if defined.search(p.read_text(encoding="utf-8"))] == []


def test_runs_and_engines_load_no_keras_when_imported():
    names = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts)
        for folder in ("runs", "inference")
        for p in sorted((ROOT / "wsi_idc" / folder).rglob("*.py"))
        if p.stem != "__init__"
    ]
    code = (
        f"import importlib, sys\nfor name in {names}:\n    importlib.import_module(name)\n"
        "print(sorted({'keras', 'tensorflow', 'torch', 'jax'} & set(sys.modules)))"
    )
    done = run("-c", code)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_the_checkout_runs_as_it_is():
    done = run("-m", "wsi_idc", "--help")
    assert done.returncode == 0 and "segment" in done.stdout, done.stderr
    found = run("-c", "import wsi_idc; print(wsi_idc.find_model().name, wsi_idc.__file__)")
    name, file = found.stdout.split(maxsplit=1)
    assert name and Path(file.strip()) == ROOT / "wsi_idc" / "__init__.py"


def test_a_wheel_holds_every_file_and_no_other(tmp_path):
    """A new folder is in it without being listed anywhere."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    (source / "wsi_idc" / "runs" / "room").mkdir()
    (source / "wsi_idc" / "runs" / "room" / "__init__.py").touch()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    done = subprocess.run([*command, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = sorted(n for n in archive.namelist() if ".dist-info/" not in n and not n.endswith(".md"))
    assert held == sorted([*files_of_the_package(), "wsi_idc/runs/room/__init__.py"])
