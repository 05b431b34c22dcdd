"""What is promised to Python is there, light to import, and its examples run."""

import doctest
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

import wsi_idc
from wsi_idc.errors import DataError, ScaleError, SettingsError, SlideError

from helpers import HEAVY, write_patches

PROMISED = ["segment", "segment_slides", "Slide", "read_heatmap", "delineate", "compare", "fields", "convert"]
PROMISED += ["train", "evaluate", "predict", "load_model", "show"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, painted, section, few_resamples):
    """Where examples run: a slide and the results of it, a patch, and labelled patches."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copy(painted, folder / "slide.tif")
    Image.fromarray(section.pixels[200:250, 300:350]).save(folder / "patch.png")
    patients = ["8865", "8913", "8867", "8914", "8917"]
    for size in (16, 50):
        write_patches(folder / f"patches{size}", patients, size)
    with pytest.MonkeyPatch.context() as moved:
        moved.chdir(folder)
        wsi_idc.segment("slide.tif", "results")
        yield folder


@pytest.mark.parametrize("name", [name for name in wsi_idc.__all__ if name != "__version__"])
def test_examples_run(folder, name):
    thing = getattr(wsi_idc, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(thing, name, globs={})
    assert example.examples and not any(doctest.SKIP in e.options for e in example.examples)
    runner = doctest.DocTestRunner(verbose=False)
    said = []
    runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)


def test_every_name_is_typed_and_stands_in_the_reference_with_what_it_raises():
    """Those of the methods of classes too, and what else the reference shows."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)
    modules = {home for home in shown if home == "wsi_idc.errors"}
    things = {}
    for home in set(shown) - modules:
        module, _, name = home.rpartition(".")
        things[name] = getattr(importlib.import_module(module), name)
    errors = {n: e for n, e in vars(importlib.import_module("wsi_idc.errors")).items() if inspect.isclass(e)}
    assert {*things, *errors, "__version__"} >= set(wsi_idc.__all__)
    for name, thing in (things | errors).items():
        assert inspect.getdoc(thing), name
        functions = [(name, thing)] if inspect.isfunction(thing) else inspect.getmembers(thing, inspect.isfunction)
        for called, function in functions:
            own = function.__module__.startswith("wsi_idc") and not called.startswith("_")
            if own:
                assert inspect.getdoc(function), (name, called)
                typed = inspect.signature(function)
                parameters = [p for p in typed.parameters.values() if p.name not in ("self", "cls")]
                assert all(p.annotation is not p.empty for p in parameters), (name, called)
                assert typed.return_annotation is not typed.empty, (name, called)
        if inspect.isfunction(thing) and name != "list_models":
            assert "aises" in thing.__doc__, name


def test_all_is_what_is_promised_and_dir_shows_it():
    assert {*PROMISED, "__version__"} <= set(wsi_idc.__all__) <= set(dir(wsi_idc))
    assert {name for name in dir(wsi_idc) if not name.startswith("__")} <= set(wsi_idc.__all__)
    assert wsi_idc.__version__ == metadata.version("wsi-idc")
    for name in wsi_idc.__all__:
        assert getattr(wsi_idc, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'segments'"):
        wsi_idc.segments  # noqa: B018


def test_importing_every_part_hides_no_promised_name():
    """A folder called as a function would take its place as soon as anything in it is imported."""
    folders = {p.parent.name for p in Path(wsi_idc.__file__).parent.glob("*/__init__.py")}
    modules = {p.stem for p in Path(wsi_idc.__file__).parent.glob("*.py")}
    assert not (folders | modules) & set(wsi_idc.__all__)


def test_importing_loads_nothing_heavy():
    code = "import sys, wsi_idc; dir(wsi_idc); print(*{m.partition('.')[0] for m in sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not (HEAVY | {"click", "platformdirs", "filelock"}) & set(out)


def test_paths_may_be_text_or_paths():
    for name in PROMISED:
        first = next(iter(inspect.signature(getattr(wsi_idc, name)).parameters.values()))
        assert {"str", "Path"} <= set(re.findall(r"\w+", str(first.annotation))), name


def test_errors_of_slides_are_those_that_python_users_catch(tmp_path):
    with pytest.raises(OSError, match=r"gone\.svs"):
        wsi_idc.Slide(tmp_path / "gone.svs")
    assert issubclass(SlideError, OSError) and issubclass(ScaleError, ValueError)
    assert str(SlideError("slide.svs: cannot be read")) == "slide.svs: cannot be read"


def test_a_slide_that_fails_while_files_are_written_keeps_its_words(tmp_path):
    """It is an OSError, but not one of the folder."""
    from wsi_idc.base.disk.folders import new_folder
    from wsi_idc.base.files import replacing
    from wsi_idc.runs.results.folder import unfinished, writing_to

    places = replacing(tmp_path / "a"), new_folder(tmp_path / "b"), writing_to(tmp_path), unfinished(tmp_path, {})
    for place in places:
        with pytest.raises(SlideError, match=r"^slide: spoilt$"), place:
            raise SlideError("slide: spoilt")


def test_what_cannot_be_meant_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="at least one process"):
        wsi_idc.segment_slides([], tmp_path, processes=0)
    with pytest.raises(DataError, match="say which patients"):
        wsi_idc.evaluate(tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="is none of train, val"):
        wsi_idc.evaluate(tmp_path, tmp_path / "out", split="vla")
    with pytest.raises(DataError, match="give a section as a mapping"):
        wsi_idc.train(tmp_path, tmp_path / "out", fit=3)
    with pytest.raises(DataError, match="no such file"):
        wsi_idc.predict([tmp_path / "gone.png"], model="idc-patch")
