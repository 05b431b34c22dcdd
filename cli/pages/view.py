"""`wsi-idc view`."""

from __future__ import annotations

from pathlib import Path

import click

from wsi_idc.cli.options import echo, mpp_option


@click.command()
@click.argument("given", metavar="RUN|SLIDE|OUT", type=click.Path(path_type=Path))
@click.option(
    "--slide",
    type=click.Path(path_type=Path),
    help="Where the slide of RUN is.  [default: beside RUN, or where manifest.csv says]",
)
@mpp_option
@click.option("--port", type=click.IntRange(1, 65535), default=8765, show_default=True, help="Of this machine.")
@click.option("--open/--no-open", "show", default=True, help="Open a browser.", show_default=True)
def view(given: Path, slide: Path | None, mpp: float | None, port: int, show: bool) -> None:
    """Look at a run on its slide, at any magnification, and at what another threshold would outline.

    RUN is the folder of one slide that wsi-idc segment left; SLIDE is shown without any run; of OUT, the output folder
    of many slides, each is opened from a list. Edited regions are saved as regions-edited.geojson beside the others,
    which stay as they are. The page is for this machine only and asks no other for anything. Ctrl-C ends it.
    """
    from wsi_idc.base.extras import needs_extra
    from wsi_idc.viewer.shelf import Shelf

    with needs_extra("view"):
        from wsi_idc.viewer.page import HOST, serve
    shelf = Shelf(given, slide, mpp)
    try:
        said = f"http://{HOST}:{port}/ shows {click.format_filename(given)}; Ctrl-C ends it"
        serve(shelf, port, show, lambda: echo(said))
    finally:
        shelf.close()
