"""`wsi-idc serve`."""

from __future__ import annotations

from pathlib import Path

import click

from wsi_idc.cli.options import FiniteRange, echo

_GB = 10**9


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("wsi-idc-served"),
    show_default=True,
    help="Folder for uploads, the queue and results.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; others than this machine need a token.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8765, show_default=True, help="Port to listen at.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the token that everybody has to know.  [default: the variable WSI_IDC_TOKEN, else none]",
)
@click.option(
    "--max-gb", type=FiniteRange(0, min_open=True), default=20.0, show_default=True, help="Size of an upload, in GB."
)
@click.option(
    "--max-jobs", type=click.IntRange(1), default=200, show_default=True, help="Slides that are kept at once."
)
@click.option(
    "--keep-days",
    type=FiniteRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Days after which slides and results are removed.",
)
@click.option("--open/--no-open", "show", default=True, help="Open a browser.", show_default=True)
def serve(
    data: Path,
    host: str,
    port: int,
    token_file: Path | None,
    max_gb: float,
    max_jobs: int,
    keep_days: float,
    show: bool,
) -> None:
    """Serve a web page to which slides are sent, and on which their results are looked at.

    Uploads go on after a break. Each slide is computed by a wsi-idc segment of its own, one after the other, and
    goes on where it was when the server is started again. For this machine only, unless a token is given. Ctrl-C ends
    it.
    """
    import os

    from wsi_idc.base.extras import needs_extra

    if os.name != "posix":
        raise click.UsageError("serve needs locks that Linux and macOS have; on Windows run it in WSL or a container")
    with needs_extra("view"):
        from wsi_idc.serve.gate import Address, read_token
    address = Address(host, port, read_token(token_file, os.environ.get("WSI_IDC_TOKEN")))
    with needs_extra("view"):
        from wsi_idc.serve.app import serve as run
    from wsi_idc.serve.store import Bounds

    said = f"http://{host}:{port}/ takes slides, into {click.format_filename(data)}; Ctrl-C ends it"
    run(data, Bounds(round(max_gb * _GB), max_jobs, keep_days), address, show, lambda: echo(said))
