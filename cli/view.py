"""`wsi-idc view`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--slide",
    type=click.Path(exists=True, path_type=Path),
    help="Where the slide is.  [default: beside RUN, or where manifest.csv says]",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8765, show_default=True, help="Of this machine.")
@click.option("--open/--no-open", "show", default=True, help="Open a browser.", show_default=True)
def view(run: Path, slide: Path | None, port: int, show: bool) -> None:
    """Look at a run on its slide, at any magnification, and at what another threshold would outline.

    RUN is the folder of one slide that wsi-idc segment left. The page is for this machine only and asks no other for
    anything; nothing is written. Ctrl-C ends it.
    """
    from wsi_idc.base.extras import needs_extra
    from wsi_idc.viewer.opened import opened

    with needs_extra("view"):
        from wsi_idc.viewer.page import HOST, serve
    with opened(run, slide) as found:
        click.echo(f"http://{HOST}:{port}/ shows {run}; Ctrl-C ends it")
        serve(found, port, show)
