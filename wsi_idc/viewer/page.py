"""The viewer as pages on this machine, by NiceGUI: tiles, heat and regions over them, a threshold that moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nicegui import app, ui
from nicegui.element import Element
from nicegui.elements import leaflet
from nicegui.events import GenericEventArguments
from starlette.middleware.trustedhost import TrustedHostMiddleware

from wsi_idc.errors import WsiIdcError
from wsi_idc.runs.results.summary import RESEARCH_USE
from wsi_idc.runs.results.words import conclusion
from wsi_idc.viewer.answers import answers
from wsi_idc.viewer.opened import OpenedRun
from wsi_idc.viewer.shelf import ALONE, Shelf
from wsi_idc.viewer.tiles import OpenedSlide

HOST = "127.0.0.1"


class SlideMap(Element, component="slide_map.js"):
    """A slide in tiles, with heat and regions; tells `measured` the numbers of regions and `pointed` a place."""

    def __init__(self, key: str, facts: dict[str, Any], threshold: float | None) -> None:
        """Show what the server has at `key`, by its facts; without a threshold there is no run."""
        super().__init__()
        self.add_resource(Path(leaflet.__file__).parent / "dist")
        self._props["address"] = f"/of/{key}"
        self._props["facts"] = facts
        self._props["threshold"] = threshold
        self.style("width: 100%; flex: 1 1 20rem; min-height: 20rem")


def serve(shelf: Shelf, port: int, show: bool) -> None:
    """Show what is on the shelf at `port` of this machine until it is interrupted; `show` opens a browser.

    Only this machine may ask, and by its own name: no page of another site reaches it by a name that leads here.
    """
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])

    if shelf.manifest:
        ui.page("/of/{key}/view")(lambda key: _page(shelf, key))
    else:
        ui.page("/")(lambda: _page(shelf, ALONE))
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


def _page(shelf: Shelf, key: str) -> None:
    """Build the page of one visitor."""
    ui.query(".nicegui-content").classes("p-2 gap-1 w-full").style("height: 100vh")
    if shelf.manifest:
        ui.link("All slides", "/").classes("text-sm")
    try:
        with shelf.using(key) as found:
            ui.page_title(f"{found.slide.name}: wsi-idc")
            ui.label(found.slide.name).classes("text-lg font-bold").props("role=heading aria-level=1")
            _of_run(key, found) if isinstance(found, OpenedRun) else _of_slide(key, found)
    except WsiIdcError as error:
        ui.page_title("wsi-idc: cannot be shown")
        ui.label(f"This cannot be shown. {error}").props("role=alert")


def _of_slide(key: str, found: OpenedSlide) -> None:
    """Show a slide without a run."""
    ui.label(f"There is no run of this slide yet: wsi-idc segment makes one. {RESEARCH_USE}").classes("text-sm")
    place = ui.label("").classes("text-sm")
    shown = SlideMap(key, found.facts(), None)
    shown.on("pointed", lambda e: place.set_text(_place(e)))


def _of_run(key: str, run: OpenedRun) -> None:
    """Show a run on its slide."""
    own = run.outlining.peak
    with ui.row().classes("text-sm gap-2"):
        ui.label(f"The run: {conclusion(run.summary)} {RESEARCH_USE}")
        ui.link("Report", f"/of/{key}/report.html", new_tab=True)
    with ui.row().classes("w-full items-center gap-4 no-wrap"):
        ui.label("Threshold")
        slider = (
            ui.slider(min=0.05, max=0.95, step=0.01, value=own).props('label aria-label="Threshold"').classes("w-64")
        )
        ui.button("As in the run", on_click=lambda: slider.set_value(own)).props("flat dense no-caps")
        ui.label("Heat")
        opacity = ui.slider(min=0, max=1, step=0.05, value=0).props('aria-label="Opacity of heat"').classes("w-32")
        outlines = ui.switch("Outlines", value=True)
    with ui.row().classes("w-full gap-6 text-sm"):
        numbers = ui.label("").props("aria-live=polite").classes("font-bold")
        place = ui.label("")
    shown = SlideMap(key, run.facts(), own)
    slider.on_value_change(lambda e: shown.run_method("setThreshold", e.value))
    opacity.on_value_change(lambda e: shown.run_method("setHeat", e.value))
    outlines.on_value_change(lambda e: shown.run_method("setOutlines", e.value))
    shown.on("measured", lambda e: numbers.set_text(_numbers(e)))
    shown.on("pointed", lambda e: place.set_text(_place(e)))


def _numbers(event: GenericEventArguments) -> str:
    n = event.args["numbers"]
    foci = "1 focus" if n["foci"] == 1 else f"{n['foci']} foci"
    share = "" if n["idc_share"] is None else f", {n['idc_share']:.1%} of tissue"
    slivers = f"; slivers: {n['slivers']}" if n["slivers"] else ""
    return f"At {event.args['threshold']:.2f}: IDC {n['idc_mm2']:.2f} mm² in {foci}{share}{slivers}"


def _place(event: GenericEventArguments) -> str:
    p = event.args.get("probability", "")
    where = f"{event.args['x_mm']:.3f} mm from the left, {event.args['y_mm']:.3f} mm from the top"
    return f"{where}: {'not computed' if p is None else f'probability {p:.3f}'}" if p != "" else where
