"""Put into docs/reference what commands say of themselves; MkDocs calls this while it builds the pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from click.testing import CliRunner

from wsi_idc.cli.group import main

WIDTH = 100


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """Add the help of all commands, or the file of settings, to the page that is about them."""
    if page.file.src_uri == "reference/commands.md":
        return "\n".join([markdown, *_commands(main, "wsi-idc", None)])
    if page.file.src_uri == "reference/settings.md":
        said = CliRunner().invoke(main, ["segment", "--print-config"], catch_exceptions=False).output
        return markdown.replace("\n## A training", f"\n```toml\n{said}```\n\n## A training")
    return markdown


def _commands(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=WIDTH, terminal_width=WIDTH)
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None and not found.hidden:
                yield from _commands(found, below, context)
