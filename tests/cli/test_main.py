import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsi_idc.cli.group import main
from wsi_idc.models.registry import SHIPPED

from helpers import HEAVY


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from wsi_idc.cli.group import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: sys.exit(repr(sorted({HEAVY!r} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert "segment" in done.stdout
    assert done.stderr.strip() == "[]"


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "wsi_idc", "--version"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "0." in done.stdout


def test_a_damaged_model_is_one_line_and_a_traceback_with_debug(painted, tmp_path):
    shutil.copytree(SHIPPED / "idc-patch", tmp_path / "model")
    (tmp_path / "model" / "encoder.onnx").write_bytes(b"damaged")
    arguments = ["segment", painted, "-o", tmp_path / "out", "--model", tmp_path / "model"]
    done = run(*arguments)
    assert done.exit_code == 1
    assert "sha256" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert run("--debug", *arguments).exception.__class__.__name__ == "ModelError"


def test_debug_shows_why_a_slide_failed(tmp_path):
    (tmp_path / "x.svs").write_text("no")
    command = [sys.executable, "-m", "wsi_idc", "--debug", "segment", tmp_path / "x.svs", "-o", tmp_path / "out"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("text", ["a: [1\n b: }", "only text", "\xff: \x00"])
def test_a_broken_dask_configuration_is_one_line(tmp_path, text):
    """In a process of its own: Dask reads it when it is imported."""
    (tmp_path / "dask.yaml").write_bytes(text.encode("latin1"))
    code = "import sys; from wsi_idc.cli.group import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "segment", str(tmp_path / "dask.yaml"), "-o", str(tmp_path / "out")],
        env=os.environ | {"DASK_CONFIG": str(tmp_path / "dask.yaml")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: the configuration of Dask cannot be read [^\n]*DASK_CONFIG[^\n]*\n", done.stderr)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupt_before_a_command_is_loaded_is_no_traceback():
    code = (
        "import os, sys, signal, wsi_idc.cli as cli\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'wsi_idc.cli.group': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder()); sys.argv = ['wsi-idc', 'segment']\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
