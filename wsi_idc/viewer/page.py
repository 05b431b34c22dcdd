"""The viewer as pages on this machine, by NiceGUI: tiles, heat and regions over them, a threshold that moves."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from nicegui import app, run, ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from wsi_idc.errors import DataError, SettingsError, WsiIdcError
from wsi_idc.runs.results.summary import RESEARCH_USE
from wsi_idc.runs.results.words import conclusion, limits
from wsi_idc.viewer.answers import answers
from wsi_idc.viewer.controls import Controls
from wsi_idc.viewer.desk import Desk
from wsi_idc.viewer.editor import Editor
from wsi_idc.viewer.live import LiveRun, Progress
from wsi_idc.viewer.opened import OpenedRun
from wsi_idc.viewer.shelf import ALONE, Pool, Shelf
from wsi_idc.viewer.slide_map import SlideMap
from wsi_idc.viewer.tiles import OpenedSlide
from wsi_idc.viewer.worksheet.page import Page as Worksheet
from wsi_idc.viewer.worksheet.sitting import Bench

HOST = "127.0.0.1"
# Text that is told apart from a light page and from a dark one: a contrast of 4.5 at least.
_CSS = """
.nicegui-link { color: #1565c0 }
.body--dark .nicegui-link { color: #90caf9 }
.body--dark .q-slider__text { color: #111 }
.body--dark :is(.q-btn--flat, .q-slider, .q-toggle) { --q-primary: #90caf9 }
"""
# Seconds between looks at a slide that is being computed.
_LOOK_S = 1.0


def serve(shelf: Shelf, port: int, show: bool, ready: Callable[[], None]) -> None:
    """Show what is on the shelf at `port` of this machine until it is interrupted; `show` opens a browser.

    Only this machine may ask, and by its own name: no page of another site reaches it by a name that leads here.
    `ready` is called before it listens. Raises SettingsError where another program listens there.
    """
    check_port(HOST, port)
    answer_at_once()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])

    desk, bench = Desk(), Bench()
    app.on_shutdown(desk.close)
    app.on_shutdown(bench.close)
    if shelf.manifest:
        ui.page("/of/{key}/view")(lambda key: page_of(shelf, desk, key, graded=True))
    else:
        ui.page("/")(lambda: page_of(shelf, desk, ALONE, graded=True))
    ui.page("/of/{key}/worksheet")(lambda key: _worksheet(shelf, bench, key))
    app.include_router(answers(shelf))
    ready()
    listen(HOST, port, show)


def check_port(host: str, port: int) -> None:
    """Raise SettingsError where nothing can listen at a port: the pages of what listens there would be seen instead."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as tried:
            if os.name != "nt":
                # Else a port is taken for a while after who had it has ended. On Windows it would never be taken.
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        raise SettingsError(
            f"port {port} of {host} cannot be listened at ({error.strerror}); end what does, or give another --port"
        ) from None


def listen(host: str, port: int, show: bool, **more: Any) -> None:
    """Answer until it is interrupted; `show` opens a browser, `more` goes to uvicorn."""
    ui.run(
        host=host,
        port=port,
        title="wsi-idc",
        show=show,
        reload=False,
        dark=None,
        language="en-US",
        show_welcome_message=False,
        **more,
    )


def answer_at_once() -> None:
    """Have threads take turns more often.

    While regions are outlined exactly in one, the others answer a threshold that moves on: they wait for it as long as
    this at each step of theirs, ten or so.
    """
    sys.setswitchinterval(0.0005)


def page_of(shelf: Pool, desk: Desk, key: str, graded: bool = False) -> None:
    """Build the page of one visitor, of what a key is that of; `graded` leads to a worksheet, where that is served."""

    def show(found: OpenedSlide) -> None:
        if isinstance(found, OpenedRun):
            _of_run(key, found, desk, graded)
        elif isinstance(found, LiveRun):
            _of_live(key, found)
        else:
            _of_slide(key, found)

    _frame(shelf)
    _shown(shelf, key, "", show)


def _worksheet(shelf: Shelf, bench: Bench, key: str) -> None:
    """Build the grading worksheet of one visitor."""

    def show(found: OpenedSlide) -> None:
        if not isinstance(found, OpenedRun):
            raise DataError(f"{found.slide.path}: is not segmented yet, so that there are no fields to grade")
        _limits(found)
        client = ui.context.client
        Worksheet(shelf, key, found, bench, client.id)
        client.on_delete(lambda: bench.leave(client.id))

    with _frame(shelf):
        ui.link("The slide", f"/of/{key}/view" if shelf.manifest else "/").classes("text-sm")
    _shown(shelf, key, "Grading worksheet of ", show)


def _frame(shelf: Pool) -> ui.row:
    """Prepare a page; what leads away from it goes into the row that is given back."""
    ui.colors(primary="#1565c0")
    ui.add_css(_CSS)
    ui.query(".nicegui-content").classes("p-2 gap-1 w-full").style("height: 100dvh")
    row = ui.row().classes("gap-4")
    if shelf.home:
        with row:
            ui.link("All slides", shelf.home).classes("text-sm")
    return row


def _shown(shelf: Pool, key: str, title: str, show: Callable[[OpenedSlide], None]) -> None:
    """Show what a key is that of, or why it cannot be."""
    try:
        with shelf.using(key) as found:
            ui.page_title(f"{title}{found.slide.name}: wsi-idc")
            ui.label(f"{title}{found.slide.name}").classes("text-lg font-bold").props("role=heading aria-level=1")
            show(found)
    except WsiIdcError as error:
        ui.page_title("wsi-idc: cannot be shown")
        ui.label(f"This cannot be shown. {error}").props("role=alert")


def _of_slide(key: str, found: OpenedSlide) -> None:
    """Show a slide without a run."""
    ui.label(f"There is no run of this slide yet: wsi-idc segment makes one. {RESEARCH_USE}").classes("text-sm")
    controls = Controls(None)
    controls.bind(SlideMap(key, found.facts(), None))


def _of_live(key: str, live: LiveRun) -> None:
    """Show a slide that is being computed, chunk by chunk, until its results are there."""
    told = ui.label("").classes("text-sm").props("aria-live=polite")
    controls = Controls(None)
    shown = SlideMap(key, live.facts(), None)
    controls.bind(shown)
    shown.on("ready", lambda: shown.run_method("setHeat", 0.6))
    before: list[Progress] = []

    async def look() -> None:
        now = await run.io_bound(live.progress)
        if now is None or now in before:
            return
        before[:] = [now]
        told.set_text(_progress(now))
        shown.run_method("refreshHeat", f"{now.chunks}-{now.probabilities}")
        if now.state == "done":
            ui.navigate.reload()

    ui.timer(_LOOK_S, look)


def _progress(now: Progress) -> str:
    if now.probabilities:
        so_far = f"{now.probabilities:,} of {now.patches:,} patches have a probability, in colour from the threshold on"
    else:
        so_far = f"{now.chunks:,} chunks are encoded, veiled on the slide"
    left = "" if now.state == "running" else " No process is at it any more: segment, run again, goes on."
    return f"This slide is being computed: {so_far}.{left} {RESEARCH_USE}"


def _of_run(key: str, found: OpenedRun, desk: Desk, graded: bool) -> None:
    """Show a run on its slide."""
    with ui.row().classes("text-sm gap-2"):
        ui.label(f"The run: {conclusion(found.summary)} {RESEARCH_USE}")
        ui.link("Report", f"/of/{key}/report.html", new_tab=True)
        if graded:
            ui.link("Grading worksheet", f"/of/{key}/worksheet")
    _limits(found)
    controls = Controls(found)
    shown = SlideMap(key, found.facts(), found.outlining.peak)
    controls.bind(shown)
    client = ui.context.client
    Editor(desk, found, shown, controls, client.id)
    client.on_delete(lambda: desk.leave(client.id))


def _limits(found: OpenedRun) -> None:
    """Say what limits a run: what weighs most at once, the rest where that is opened; nothing where nothing does."""
    first, *others = limits(found.summary) or [""]
    told = f"What limits it: {first}"
    if others:
        with (
            ui.expansion(f"{told} And {len(others)} more.").classes("w-full text-sm") as more,
            ui.column().classes("gap-1"),
        ):
            for limit in others:
                ui.label(limit)
        more.props('dense header-class="px-0" expand-icon-class="pr-0"')
    elif first:
        ui.label(told).classes("text-sm")
