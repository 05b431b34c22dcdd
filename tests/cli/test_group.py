"""The group of commands, and the page that is shown before it is loaded."""

import subprocess
import sys
from pathlib import Path

import click
from click.testing import CliRunner

import wsi_idc.cli
from wsi_idc.cli.group import main

PAGE = Path(wsi_idc.cli.__file__).with_name("help.txt")


def test_the_ready_page_is_what_click_says():
    """Made by python -c "from wsi_idc.cli.group import main; main(['--help'], 'wsi-idc')" > cli/help.txt"""
    said = CliRunner().invoke(main, ["--help"], prog_name="wsi-idc", terminal_width=78)
    assert PAGE.read_text(encoding="utf-8") == said.output


def test_the_page_is_shown_without_click():
    code = "import sys; sys.argv = ['x', '-h']; from wsi_idc.cli import main; main(); print('click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == PAGE.read_text(encoding="utf-8") + "False\n"


def test_every_command_is_loaded_by_its_name():
    context = click.Context(main)
    names = main.list_commands(context)
    assert "segment" in names
    assert [main.get_command(context, name).name for name in names] == names
    assert main.get_command(context, "nothing") is None


def test_an_unknown_command_is_wrong_usage():
    done = CliRunner().invoke(main, ["segmnet"])
    assert done.exit_code == 2 and "segmnet" in done.stderr
