"""The viewer as pages on this machine, by NiceGUI: tiles, heat and regions over them, a threshold that moves."""

from __future__ import annotations

import sys

from nicegui import app, ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from wsi_idc.errors import WsiIdcError
from wsi_idc.runs.results.summary import RESEARCH_USE
from wsi_idc.runs.results.words import conclusion
from wsi_idc.viewer.answers import answers
from wsi_idc.viewer.controls import Controls
from wsi_idc.viewer.desk import Desk
from wsi_idc.viewer.editor import Editor
from wsi_idc.viewer.opened import OpenedRun
from wsi_idc.viewer.shelf import ALONE, Shelf
from wsi_idc.viewer.slide_map import SlideMap
from wsi_idc.viewer.tiles import OpenedSlide

HOST = "127.0.0.1"


def serve(shelf: Shelf, port: int, show: bool) -> None:
    """Show what is on the shelf at `port` of this machine until it is interrupted; `show` opens a browser.

    Only this machine may ask, and by its own name: no page of another site reaches it by a name that leads here.
    """
    # While regions are outlined exactly in one thread, the others answer a threshold that moves on: they wait for it as
    # long as this at each step of theirs, ten or so.
    sys.setswitchinterval(0.0005)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])

    desk = Desk()
    app.on_shutdown(desk.close)
    if shelf.manifest:
        ui.page("/of/{key}/view")(lambda key: _page(shelf, desk, key))
    else:
        ui.page("/")(lambda: _page(shelf, desk, ALONE))
    app.include_router(answers(shelf))
    ui.run(
        host=HOST,
        port=port,
        title="wsi-idc",
        show=show,
        reload=False,
        dark=None,
        show_welcome_message=False,
    )


def _page(shelf: Shelf, desk: Desk, key: str) -> None:
    """Build the page of one visitor."""
    ui.colors(primary="#1565c0")
    # Told apart from a dark page too.
    ui.add_css(".body--dark .text-primary, .body--dark .nicegui-link { color: #90caf9 !important }")
    ui.query(".nicegui-content").classes("p-2 gap-1 w-full").style("height: 100dvh")
    if shelf.manifest:
        ui.link("All slides", "/").classes("text-sm")
    try:
        with shelf.using(key) as found:
            ui.page_title(f"{found.slide.name}: wsi-idc")
            ui.label(found.slide.name).classes("text-lg font-bold").props("role=heading aria-level=1")
            _of_run(key, found, desk) if isinstance(found, OpenedRun) else _of_slide(key, found)
    except WsiIdcError as error:
        ui.page_title("wsi-idc: cannot be shown")
        ui.label(f"This cannot be shown. {error}").props("role=alert")


def _of_slide(key: str, found: OpenedSlide) -> None:
    """Show a slide without a run."""
    ui.label(f"There is no run of this slide yet: wsi-idc segment makes one. {RESEARCH_USE}").classes("text-sm")
    controls = Controls(None)
    controls.bind(SlideMap(key, found.facts(), None))


def _of_run(key: str, run: OpenedRun, desk: Desk) -> None:
    """Show a run on its slide."""
    with ui.row().classes("text-sm gap-2"):
        ui.label(f"The run: {conclusion(run.summary)} {RESEARCH_USE}")
        ui.link("Report", f"/of/{key}/report.html", new_tab=True)
    controls = Controls(run)
    shown = SlideMap(key, run.facts(), run.outlining.peak)
    controls.bind(shown)
    client = ui.context.client
    Editor(desk, run, shown, controls, client.id)
    client.on_delete(lambda: desk.leave(client.id))
