"""What is built from the checkout and published beside it is whole and says the same as the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from wsi_idc.cli.schema import PRINTED, printed
from wsi_idc.grading import record
from wsi_idc.models.package import SCHEMA
from wsi_idc.runs.results.outputs import NAMES, schema_file

ROOT = Path(__file__).parents[1]
# Of what lies in a checkout, what git does not hold.
CACHES = {"__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
LEAVINGS = CACHES | {".git", ".venv", "build", "dist", "runs", "wsi-idc-demo"}
# What conda-forge calls otherwise.
CONDA = {"dask": "dask-core", "openslide-bin": "openslide"}


def leavings(folder: str, names: list[str]) -> set[str]:
    """What git does not hold; `runs` and its like only at the top, since a package may have their names."""
    known = LEAVINGS if Path(folder) == ROOT else CACHES
    return {name for name in names if name in known or name.endswith(".egg-info") or name.startswith(".coverage")}


def files(folder: Path) -> set[str]:
    found = set()
    for place, folders, names in os.walk(folder):
        folders[:] = set(folders) - leavings(place, folders)
        kept = set(names) - leavings(place, names)
        found |= {(Path(place) / name).relative_to(folder).as_posix() for name in kept}
    return found


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """The source archive, unpacked."""
    pytest.importorskip("setuptools", minversion="77")
    place = tmp_path_factory.mktemp("archive")
    source = shutil.copytree(ROOT, place / "source", ignore=leavings)
    build = [sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_sdist({str(place)!r})"]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = place.glob("*.tar.gz")
    with tarfile.open(made) as opened:
        opened.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    return unpacked


def test_the_source_archive_is_whole(archive):
    kept_apart = {".gitignore", ".dockerignore", ".github/workflows/ci.yml"}
    assert files(ROOT) - kept_apart <= files(archive)
    assert files(archive) - files(ROOT) <= {"PKG-INFO", "setup.cfg"}


def test_the_source_archive_passes_its_quick_tests(archive):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/base/test_grid.py"]
    command.append("tests/cli/test_group.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    environment["PYTHONPATH"] = str(archive)
    done = subprocess.run(command, cwd=archive, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_recipe_asks_for_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = (ROOT / "packaging" / "recipe.yaml").read_text(encoding="utf-8")
    listed = re.search(r"  run:\n((?:    - .*\n)+)", recipe)[1]
    asked = {re.match(r"[\w-]+", line)[0]: line.partition(">=")[2] for line in re.findall(r"    - (.*)\n", listed)}
    wanted = {"python": project["requires-python"].removeprefix(">=")}
    for requirement in project["dependencies"]:
        name, version = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=(.*)", requirement).groups()
        wanted[CONDA.get(name, name)] = version
    # Their package of OpenSlide has the version of the library, ours one number more.
    wanted["openslide"] = asked["openslide"] if wanted["openslide"].startswith(asked["openslide"][:3]) else None
    assert asked == wanted
    assert f'version: "{project["version"]}"' in recipe


@pytest.mark.parametrize("name", [*NAMES, "model", "worksheet", *PRINTED])
def test_the_published_schemas_are_those_of_the_package(name):
    """Made by `wsi-idc schema NAME > docs/schemas/NAME.schema.json`."""
    others = {"model": SCHEMA, "worksheet": record.SCHEMA}
    file = others.get(name) or (printed(name) if name in PRINTED else schema_file(name))
    published = ROOT / "docs" / "schemas" / f"{name}.schema.json"
    assert published.read_text(encoding="utf-8") == file.read_text(encoding="utf-8")
