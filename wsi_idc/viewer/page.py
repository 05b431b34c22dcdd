"""The viewer as a page on this machine, by NiceGUI: tiles, heat and regions over them, a threshold that moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Response
from nicegui import app, ui
from nicegui.element import Element
from nicegui.elements import leaflet
from nicegui.events import GenericEventArguments
from starlette.middleware.trustedhost import TrustedHostMiddleware

from wsi_idc.errors import SettingsError
from wsi_idc.runs.results.summary import RESEARCH_USE
from wsi_idc.runs.results.words import conclusion
from wsi_idc.viewer.opened import OpenedRun

HOST = "127.0.0.1"


class SlideMap(Element, component="slide_map.js"):
    """A slide in tiles, with heat and regions; tells `measured` the numbers of regions and `pointed` a place."""

    def __init__(self, facts: dict[str, Any], threshold: float) -> None:
        """Show the run that the server has, by its facts."""
        super().__init__()
        self.add_resource(Path(leaflet.__file__).parent / "dist")
        self._props["facts"] = facts
        self._props["threshold"] = threshold
        self.style("width: 100%; height: calc(100vh - 9.5rem); min-height: 20rem")


def serve(run: OpenedRun, port: int, show: bool) -> None:
    """Show a run at `port` of this machine until it is interrupted; `show` opens a browser.

    Only this machine may ask, and by its own name: no page of another site reaches it by a name that leads here.
    """
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    _answer(run)
    ui.run(
        lambda: _page(run),
        host=HOST,
        port=port,
        title=f"{run.slide.name}: wsi-idc",
        show=show,
        reload=False,
        dark=None,
        show_welcome_message=False,
    )


def _answer(run: OpenedRun) -> None:
    """Answer what the map asks for."""

    @app.get("/run/tile/{level}/{column}/{row}")
    def tile(level: int, column: int, row: int) -> Response:
        try:
            data = run.tile(level, column, row)
        except IndexError:
            return Response(status_code=404)
        return Response(data, media_type="image/jpeg", status_code=200 if data else 404)

    @app.get("/run/heat")
    def heat() -> Response:
        return Response(run.heat(), media_type="image/png")

    @app.get("/run/regions")
    def regions(threshold: float) -> Any:
        try:
            return run.regions(threshold)
        except SettingsError as error:
            return Response(str(error), status_code=422)

    @app.get("/run/probability")
    def probability(x: float, y: float) -> dict[str, float | None]:
        return {"probability": run.probability(x, y)}


def _page(run: OpenedRun) -> None:
    """Build the page of one visitor."""
    ui.query(".nicegui-content").classes("p-2 gap-1 w-full")
    own = run.outlining.peak
    ui.label(run.slide.name).classes("text-lg font-bold").props("role=heading aria-level=1")
    ui.label(f"The run: {conclusion(run.summary)} {RESEARCH_USE}").classes("text-sm")
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
    shown = SlideMap(run.facts(), own)
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
    p = event.args["probability"]
    where = f"{event.args['x_mm']:.3f} mm from the left, {event.args['y_mm']:.3f} mm from the top"
    return f"{where}: {'no tissue' if p is None else f'probability {p:.3f}'}"
