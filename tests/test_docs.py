"""What the pages tell a reader to type is there to be typed."""

import re
import shlex
from pathlib import Path

import click
import pytest

from wsi_idc.cli.group import main
from wsi_idc.training.config import read_config
from wsi_idc.training.tune import read_space

ROOT = Path(__file__).parents[1]


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)


@pytest.mark.parametrize("page", ["README.md", "docs/cluster.md", "docs/training.md"])
def test_commands_have_the_options_that_they_are_given(page):
    lines = "".join(blocks(page, "sh")).splitlines()
    typed = [shlex.split(line, comments=True) for line in lines if line.startswith("wsi-idc ")]
    assert typed
    for _, *arguments in typed:
        command = main
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), arguments.pop(0))
        known = {option for parameter in command.params for option in parameter.opts}
        assert {a for a in arguments if a.startswith("-")} <= known, arguments


def test_settings_are_of_a_configuration(tmp_path):
    settings, space = blocks("docs/training.md", "toml")
    (tmp_path / "settings.toml").write_text(settings)
    (tmp_path / "space.toml").write_text(space)
    assert read_config(tmp_path / "settings.toml").model.context
    assert len(read_space(tmp_path / "space.toml")) == 3
    lines = "".join(blocks("docs/training.md", "sh"))
    given = re.findall(r"--set (\S+)", lines)
    assert given
    read_config(None, given)
    assert read_config(ROOT / "examples" / "idc-context.toml").model.context
