"""What stands above the map: threshold, heat, magnification, measuring, and what each key does."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import ui
from nicegui.events import GenericEventArguments

from wsi_idc.runs.results.words import counted_foci
from wsi_idc.viewer.opened import OpenedRun
from wsi_idc.viewer.slide_map import SlideMap

_MAGNIFICATIONS = {1.25: "1.25x", 5: "5x", 10: "10x", 20: "20x", 40: "40x"}
KEYS = (
    ("arrows, + and −", "move the slide, change the magnification (with the slide in focus)"),
    ("0", "the whole slide"),
    ("1 2 3 4 5", "1.25x, 5x, 10x, 20x, 40x"),
    ("n, p", "the next, the previous region, from the largest down"),
    ("[ and ]", "a lower, a higher threshold"),
    ("h, o", "heat, outlines"),
    ("E", "edit, and leave it; v d e c s, g, Del, Ctrl+Z, Ctrl+Y, Ctrl+S are on the buttons then"),
    ("m", "measure: click the places to measure between"),
    (
        "Enter, or a double click",
        "ends it, or what is drawn; Backspace takes a corner back, Esc begins anew, and leaves",
    ),
)
BUTTON = "flat dense no-caps"


def keys_button(keys: Sequence[tuple[str, str]]) -> None:
    """Build a button that says what each key does: pairs of keys and what they do."""
    with (
        ui.button("Keys").props(BUTTON),
        ui.menu().props('aria-label="Keys"'),
        ui.column().classes("p-3 gap-1"),
    ):
        for names, text in keys:
            ui.label(f"{names}: {text}").classes("text-sm")


class Controls:
    """The controls of a slide, and of its run where there is one; made before their map, which is then `bound`."""

    def __init__(self, run: OpenedRun | None) -> None:
        """Build a row of controls and a row of what is told."""
        self._run = run
        with ui.row().classes("w-full items-center gap-x-4 gap-y-0"):
            if run:
                self._of_run(run.outlining.peak)
            for number, (times, text) in enumerate(_MAGNIFICATIONS.items(), 1):
                button = ui.button(text, on_click=lambda _, t=times: self._map.run_method("setMagnification", t))
                button.props(f'{BUTTON} aria-label="Magnification {text}, key {number}"').classes("px-1")
            self.measure = ui.switch("Measure", on_change=lambda e: self._set_tool("measure" if e.value else None))
            keys_button(KEYS)
            self.extra = ui.row().classes("items-center gap-2")
        self.below = ui.row().classes("w-full")
        # One line whatever is told: the slide would else move below the hand that draws.
        with ui.row().classes("w-full no-wrap gap-x-6 text-sm").style("height: 1.4rem; overflow: hidden"):
            self.numbers = ui.label("").props("aria-live=polite").classes("font-bold shrink-0")
            self.measured = ui.label("").props("aria-live=polite").classes("grow truncate")
            self.place = ui.label("").classes("shrink-0")

    def _of_run(self, own: float) -> None:
        ui.label("Threshold")
        self.slider = ui.slider(min=0.05, max=0.95, step=0.01, value=own).classes("w-56")
        self.slider.props('label aria-label="Threshold"')
        self.own = ui.button("As in the run", on_click=lambda: self.slider.set_value(own)).props(BUTTON)
        ui.label("Heat")
        self.opacity = ui.slider(min=0, max=1, step=0.05, value=0).classes("w-28")
        self.opacity.props('aria-label="Opacity of heat"')
        self.outlines = ui.switch("Outlines", value=True)

    def bind(self, shown: SlideMap) -> None:
        """Let the controls act on a map, and show what it tells."""
        self._map = shown
        if self._run:
            self.slider.on_value_change(lambda e: shown.run_method("setThreshold", e.value))
            self.opacity.on_value_change(lambda e: shown.run_method("setHeat", e.value))
            self.outlines.on_value_change(lambda e: shown.run_method("setOutlines", e.value))
            shown.on("measured", lambda e: self.numbers.set_text(_numbers(e)))
        shown.on("pointed", lambda e: self.place.set_text(_place(e)))
        shown.on("lengthened", lambda e: self.measured.set_text(_length(e)))
        shown.on("key", lambda e: self.key(e.args["key"]))

    def key(self, key: str) -> None:
        """Do what a key stands for."""
        if key.isdigit() and 1 <= int(key) <= len(_MAGNIFICATIONS):
            self._map.run_method("setMagnification", [*_MAGNIFICATIONS][int(key) - 1])
        elif key == "m":
            self.measure.set_value(not self.measure.value)
        elif key == "Escape":
            self.measure.set_value(False)
        elif self._run and key in "[]" and self.slider.enabled:
            self.slider.set_value(round(min(0.95, max(0.05, self.slider.value + (0.01 if key == "]" else -0.01))), 2))
        elif self._run and key == "h":
            self.opacity.set_value(0 if self.opacity.value else 0.5)
        elif self._run and key == "o":
            self.outlines.set_value(not self.outlines.value)

    def _set_tool(self, tool: str | None) -> None:
        self.measured.set_text("Click the places to measure between" if tool else "")
        self._map.run_method("setTool", tool)


def _numbers(event: GenericEventArguments) -> str:
    threshold = f"At {event.args['threshold']:.2f}: IDC "
    if "about_mm2" in event.args:
        return f"{threshold}about {event.args['about_mm2']:.1f} mm² …"
    n = event.args["numbers"]
    if n["foci"] is None:
        return "Nothing was looked at"
    share = "" if n["idc_share"] is None else f", {n['idc_share']:.1%} of tissue"
    slivers = f"; slivers: {n['slivers']}" if n["slivers"] else ""
    return f"{threshold}{n['idc_mm2']:.2f} mm² in {counted_foci(n['foci'])}{share}{slivers}"


def _place(event: GenericEventArguments) -> str:
    where = f"{event.args['x_mm']:.3f} mm from the left, {event.args['y_mm']:.3f} mm from the top"
    if "probability" not in event.args:
        return where
    p = event.args["probability"]
    return f"{where}: {'not computed' if p is None else f'probability {p:.3f}'}"


def _length(event: GenericEventArguments) -> str:
    length, area = event.args["length_mm"], event.args["area_mm2"]
    line = f"{length:.3f} mm" if length >= 1 else f"{length * 1000:.0f} µm"
    return f"Measured: {line}" if area is None else f"Measured: {line}; closed, {area:.4f} mm²"
