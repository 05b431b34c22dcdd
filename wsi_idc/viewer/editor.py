"""The controls by which regions are edited, and what they do with what a hand draws on the map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from nicegui import run, ui
from nicegui.events import GenericEventArguments

from wsi_idc.errors import HeldError, WsiIdcError
from wsi_idc.viewer import edits
from wsi_idc.viewer.controls import BUTTON, Controls
from wsi_idc.viewer.desk import Desk, Session, user
from wsi_idc.viewer.edits import Edited, History, Outlines
from wsi_idc.viewer.opened import OpenedRun
from wsi_idc.viewer.slide_map import SlideMap

# Of each tool its key and what it does.
_TOOLS = {
    "choose": (
        "v",
        "Choose",
        "Click a region, with Shift several; drag a corner to move it, Alt and a click removes it",
    ),
    "draw": ("d", "Draw", "Draw a new region: click its corners and press Enter, or hold the button and go round it"),
    "extend": ("e", "Extend", "Draw what the chosen region is to take in"),
    "cut": ("c", "Cut", "Draw what is to be taken out: a hole, a bay, or a part"),
    "split": ("s", "Split", "Draw a line along which regions are parted, and press Enter"),
}


class Editor:
    """Edits the regions of a run in one window, which is known to the `desk` as `owner`."""

    def __init__(self, desk: Desk, run_: OpenedRun, shown: SlideMap, controls: Controls, owner: str) -> None:
        """Build the controls, which are hidden until editing begins."""
        self._desk, self._run, self._map, self._controls, self._owner = desk, run_, shown, controls, owner
        self._session: Session | None = None
        with controls.extra:
            self.switch = ui.switch("Edit", on_change=lambda e: self._begin() if e.value else self._end())
        with controls.below, ui.row().classes("w-full items-center gap-2") as self.bar:
            labels = {tool: f"{label} ({key})" for tool, (key, label, _) in _TOOLS.items()}
            self.tool = ui.toggle(labels, value="choose", on_change=lambda e: self._take(e.value))
            self.tool.props('dense no-caps aria-label="Tool"')
            self._button("Merge (g)", lambda: self._do(lambda o: edits.merge(o, self._chosen)))
            self._button("Delete (Del)", lambda: self._do(lambda o: edits.delete(o, self._chosen)))
            self._button("Undo (Ctrl+Z)", lambda: self._move(History.undo))
            self._button("Redo (Ctrl+Y)", lambda: self._move(History.redo))
            self._button("Take those of the threshold", self._take_threshold)
            self.who = ui.input("Edited by", value=user()).props("dense").classes("w-36")
            self._button("Save (Ctrl+S)", self._save).props(remove="flat")
        self.bar.set_visibility(False)
        shown.on("clicked", self._clicked)
        shown.on("sketched", self._sketched)
        shown.on("reshaped", self._reshaped)
        shown.on("key", lambda e: self._key(e.args["key"]))

    def _button(self, text: str, act: Callable[[], object]) -> ui.button:
        return ui.button(text, on_click=act).props(BUTTON)

    @property
    def _chosen(self) -> tuple[str, ...]:
        return self._session.history.now.chosen if self._session else ()

    async def _begin(self, take_over: bool = False) -> None:
        try:
            session = await run.io_bound(self._desk.begin, self._run.folder, self._owner, take_over)
        except HeldError as error:
            self._refused(str(error), "in another window" in str(error))
            return
        except WsiIdcError as error:
            self._refused(str(error), False)
            return
        if session is None:
            # The viewer is about to end.
            return
        self._session = session
        self.bar.set_visibility(True)
        self._controls.slider.disable()
        self._controls.own.disable()
        self.tool.set_value("choose")
        self._take("choose")
        draft = "" if session.saved else "What was not saved when editing was left is back. "
        self._show(session.history.now, draft + _TOOLS["choose"][2])

    def _refused(self, why: str, offer: bool) -> None:
        self.switch.set_value(False)
        with ui.dialog(value=True) as dialog, ui.card():
            ui.label(why).props("role=alert")
            with ui.row():
                ui.button("Only look", on_click=dialog.close).props(BUTTON)
                if offer:
                    ui.button("Take over", on_click=lambda: (dialog.close(), self._over())).props(BUTTON)

    async def _over(self) -> None:
        await self._begin(take_over=True)
        self.switch.set_value(True)

    def _end(self) -> None:
        if self._session is None:
            return
        saved, self._session = self._session.saved, None
        self._desk.leave(self._owner)
        self.bar.set_visibility(False)
        self._controls.slider.enable()
        self._controls.own.enable()
        self._map.run_method("setTool", None)
        self._map.run_method("showEdits", None)
        self._controls.measured.set_text("" if saved else "Not saved; it is there again when you edit again")

    def _take(self, tool: str) -> None:
        if self._session is None:
            return
        self._controls.measure.set_value(False)
        self._map.run_method("setTool", None if tool == "choose" else tool)
        self._controls.measured.set_text(_TOOLS[tool][2])

    async def _act(self, step: Callable[[Session], Edited | None]) -> None:
        """Do something with the session, and show what came of it or why nothing did."""
        session = self._session
        if session is None:
            return
        try:
            await run.io_bound(step, session)
        except WsiIdcError as error:
            text = str(error)
            told = text[:1].upper() + text[1:]
            ui.notify(told, color="grey-9", position="bottom", close_button="Close", timeout=8000)
            if isinstance(error, HeldError):
                self.switch.set_value(False)
            return
        self._show(session.history.now)

    async def _do(self, step: Callable[[Outlines], Edited]) -> None:
        await self._act(lambda session: session.do(self._owner, step))

    async def _move(self, step: Callable[[History], History]) -> None:
        await self._act(lambda session: session.move(self._owner, step))

    async def _save(self) -> None:
        await self._act(lambda session: session.save(self._owner, str(self.who.value or "")))
        if self._session and self._session.saved:
            self._controls.measured.set_text(f"Saved as {self._session.file}")

    async def _take_threshold(self) -> None:
        threshold = self._controls.slider.value
        await self._do(lambda _: edits.beginning(self._run.annotations(threshold)))

    async def _clicked(self, event: GenericEventArguments) -> None:
        if self._session is None:
            return
        found = edits.at(
            self._session.history.now.outlines, self._run.on_slide([(event.args["x"], event.args["y"])])[0]
        )
        before = set(self._chosen) if event.args["add"] else set()
        chosen = tuple(before ^ {found}) if found else tuple(before)
        await self._act(lambda session: session.choose(self._owner, chosen))

    async def _sketched(self, event: GenericEventArguments) -> None:
        tool, points = event.args["tool"], self._run.on_slide(event.args["points"])
        chosen, size = self._chosen, self._run.slide.size
        steps: dict[str, Callable[[Outlines], Edited]] = {
            "draw": lambda o: edits.draw(o, points, size),
            "extend": lambda o: edits.extend(o, chosen, points, size),
            "cut": lambda o: edits.cut(o, chosen, points, size),
            "split": lambda o: edits.split(o, chosen, points),
        }
        if tool in steps:
            await self._do(steps[tool])

    async def _reshaped(self, event: GenericEventArguments) -> None:
        a, size = event.args, self._run.slide.size
        place = self._run.on_slide([(a["x"], a["y"])])[0]
        kind: Literal["move", "remove"] = "remove" if a["kind"] == "remove" else "move"
        corner = int(a["ring"]), int(a["corner"])
        await self._act(
            lambda session: session.do(
                self._owner, lambda o: edits.reshape(o, (str(a["id"]),), corner, kind, place, size)
            )
        )
        if self._session:
            self._show(self._session.history.now)

    async def _key(self, key: str) -> None:
        if key == "E":
            self.switch.set_value(not self.switch.value)
        if self._session is None:
            return
        tools = {letter: tool for tool, (letter, _, _) in _TOOLS.items()}
        if key in tools:
            self.tool.set_value(tools[key])
        elif key == "Escape":
            self.tool.set_value("choose")
        elif key == "g":
            await self._do(lambda o: edits.merge(o, self._chosen))
        elif key in ("Delete", "Backspace"):
            await self._do(lambda o: edits.delete(o, self._chosen))
        elif key in ("undo", "redo"):
            await self._move(History.undo if key == "undo" else History.redo)
        elif key == "save":
            await self._save()

    def _show(self, edited: Edited, note: str = "") -> None:
        session = self._session
        if session is None:
            return
        x, y = self._run.slide.mpp.x, self._run.slide.mpp.y
        regions = [
            {"id": o.id, "name": f"IDC {n}", "selected": o.id in edited.chosen}
            | {"area_mm2": o.geometry.area * x * y / 1e6, "rings": self._run.on_map(o.geometry)}
            for n, o in enumerate(edited.outlines, 1)
        ]
        self._map.run_method("showEdits", regions)
        count = "1 region" if len(regions) == 1 else f"{len(regions)} regions"
        state = "as saved" if session.saved else "not saved"
        self._controls.numbers.set_text(f"Edited: IDC {session.area_mm2:.2f} mm² in {count}; {state}")
        if told := edited.note or note:
            self._controls.measured.set_text(told[:1].upper() + told[1:])
