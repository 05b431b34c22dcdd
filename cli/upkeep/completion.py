"""`wsi-idc completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options and files after TAB.

    For bash, in ~/.bashrc: eval "$(wsi-idc completion bash)". For zsh, in ~/.zshrc: eval "$(wsi-idc completion zsh)".
    For fish: wsi-idc completion fish > ~/.config/fish/completions/wsi-idc.fish
    """
    known = get_completion_class(shell)
    assert known is not None
    # The variable is the one that click looks at when it is called by this name.
    click.echo(known(ctx.find_root().command, {}, "wsi-idc", "_WSI_IDC_COMPLETE").source())
