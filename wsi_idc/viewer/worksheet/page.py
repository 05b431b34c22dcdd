"""The page of the grading worksheet: who is at it, the fields on their slide, and what the observer does with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import run, ui
from nicegui.events import GenericEventArguments

from wsi_idc.annotations.formats.qupath import IDC_CLASS
from wsi_idc.annotations.read import read_annotations
from wsi_idc.errors import HeldError, WsiIdcError
from wsi_idc.grading import worksheet as steps
from wsi_idc.grading.worksheet import Step, Worksheet
from wsi_idc.viewer.controls import BUTTON
from wsi_idc.viewer.desk import user
from wsi_idc.viewer.opened import OpenedRun
from wsi_idc.viewer.shelf import Pool
from wsi_idc.viewer.worksheet.field_map import FieldMap
from wsi_idc.viewer.worksheet.panel import Panel
from wsi_idc.viewer.worksheet.sitting import Bench, Sitting


class Page:
    """The worksheet in one window, which is known to the bench as `owner`."""

    def __init__(self, shelf: Pool, key: str, found: OpenedRun, bench: Bench, owner: str) -> None:
        """Ask who the observer is; what there is to judge is shown when that is said."""
        self._shelf, self._key, self._folder, self._bench, self._owner = shelf, key, found.folder, bench, owner
        self._facts, self._stretch = found.facts(), found.stretch
        self._sitting: Sitting | None = None
        self.current, self._moving = 1, False
        self._place = ui.row().classes("w-full no-wrap gap-3 grow").style("min-height: 0; flex: 1 1 0")
        with self._place, ui.card().classes("m-2"):
            ui.label("Who judges? Each observer has a worksheet of their own, and sees no marks of others.")
            self._name = ui.input("Observer", value=user()).classes("w-64")
            ui.button("Begin", on_click=self._begin).props("no-caps")
            self._why = ui.label("").props("role=alert")

    @property
    def sheet(self) -> Worksheet:
        """The worksheet as it is; only after the page has begun."""
        assert self._sitting is not None
        return self._sitting.now

    async def _begin(self, take_over: bool = False) -> None:
        name = str(self._name.value or "")
        try:
            self._sitting = await self._with_run(
                lambda found: self._bench.begin(self._folder, found.slide, name, self._owner, take_over)
            )
        except WsiIdcError as error:
            self._why.set_text(str(error))
            if isinstance(error, HeldError) and "another window" in str(error) and not take_over:
                with self._place:
                    ui.button("Take over", on_click=lambda: self._begin(True)).props(BUTTON)
            return
        if self._sitting is None:
            # The viewer is about to end.
            return
        self._place.clear()
        with self._place:
            self._map = FieldMap(self._key, self._facts)
            self._panel = Panel(self, self._sitting.observer)
        self._map.on("ready", lambda: self.go(next((f.number for f in self.sheet.fields if f.state == "open"), 1)))
        self._map.on("clicked", self._clicked)
        self._map.on("viewed", lambda e: self._panel.views(e.args["view"], e.args["views"]))
        self._map.on("key", lambda e: self._key_pressed(e.args["key"]))

    async def go(self, number: int, told: str = "") -> None:
        """Show a field at 40x with what there is to tell, and measure its nuclei where that is not done."""
        self.current = number
        self._take(False)
        self._panel.say(told)
        self._show()
        self._map.run_method("goTo", number)
        sitting = self._sitting
        if sitting:
            await self._try(lambda found: sitting.measure(found.slide, number), tells=False)

    async def go_by(self, way: int) -> None:
        """Show the next field, or the one before, of those that are not refused."""
        there = [f.number for f in self.sheet.fields if f.state != "refused" or f.number == self.current]
        await self.go(there[(there.index(self.current) + way) % len(there)])

    async def do(self, step: Step) -> bool:
        """Take a step, and say whether it could be taken."""
        sitting = self._sitting
        return sitting is not None and await self._try(lambda _: sitting.do(self._owner, step))

    async def counted(self) -> None:
        """Call the current field counted, and go to the next that is open."""
        if not await self.do(lambda s: steps.set_state(s, self.current, "counted")):
            return
        numbers = [f.number for f in self.sheet.fields if f.state == "open"]
        if numbers:
            await self.go(next((n for n in numbers if n > self.current), numbers[0]))

    async def refuse(self) -> None:
        """Refuse the current field, or take it back."""
        state = self.sheet.of(self.current).state
        await self.do(lambda s: steps.set_state(s, self.current, "open" if state == "refused" else "refused"))

    async def replace(self) -> None:
        """Refuse the current field and go to the next best one."""
        sitting, number = self._sitting, self.current
        self._panel.say("Looking for the next best field: this reads much of the slide ...")
        if sitting and await self._try(lambda found: sitting.replace(self._owner, found.slide, number)):
            await self.go(self.sheet.fields[-1].number, self.sheet.note)

    async def undo(self, way: int = -1) -> None:
        """Take a step back, or again."""
        sitting = self._sitting
        if sitting:
            await self._try(lambda _: sitting.undo(self._owner) if way < 0 else sitting.redo(self._owner))

    async def save(self) -> None:
        """Save the worksheet."""
        sitting = self._sitting
        if sitting and await self._try(lambda found: sitting.save(self._owner, found.slide)):
            self._panel.say(f"Saved as {sitting.saved_as}")

    def move(self) -> None:
        """Let the next click be where the middle of the current field is to be."""
        self._take(not self._moving)

    def step_view(self, way: int) -> None:
        """Go through a field that is larger than the window."""
        self._map.run_method("step", way)

    async def invasive(self) -> None:
        """Show all that is invasive, on which tubules are judged."""
        outlines = await self._with_run(_invasive)
        self._map.run_method("showInvasive", outlines)

    def _take(self, moving: bool) -> None:
        self._moving = moving
        self._map.run_method("setTool", not self.sheet.basis.why_not_countable or moving)
        self._panel.say("Click where the middle of the field is to be; Esc leaves it as it is" if moving else "")

    async def _clicked(self, event: GenericEventArguments) -> None:
        x, y = float(event.args["x"]), float(event.args["y"]) / self._stretch
        if self._moving:
            if await self.do(lambda s: steps.move(s, self.current, x, y)):
                await self.go(self.current, self.sheet.note)
        else:
            await self.do(lambda s: steps.mark(s, self.current, x, y))

    async def _key_pressed(self, key: str) -> None:
        acts: dict[str, Callable[[], Any]] = {
            "n": lambda: self.go_by(1),
            "p": lambda: self.go_by(-1),
            "c": self.counted,
            "r": self.refuse,
            "m": self.move,
            "Escape": lambda: self._take(False),
            "undo": self.undo,
            "redo": lambda: self.undo(1),
            "save": self.save,
        }
        if key in acts and (done := acts[key]()) is not None:
            await done

    async def _try(self, act: Callable[[OpenedRun], Any], tells: bool = True) -> bool:
        """Do something in a thread and show what came of it, or why nothing did; say which.

        What nobody asked for tells nothing: it would end after a later act, and take the place of what that said.
        """
        try:
            await self._with_run(act)
        except WsiIdcError as error:
            text = str(error)
            self._panel.say(text[:1].upper() + text[1:], alarm=True)
            self._show()
            return False
        if tells:
            self._panel.say(self.sheet.note)
        self._show()
        return True

    async def _with_run(self, act: Callable[[OpenedRun], Any]) -> Any:
        def acting() -> Any:
            with self._shelf.using(self._key) as found:
                assert isinstance(found, OpenedRun)
                return act(found)

        return await run.io_bound(acting)

    def _show(self) -> None:
        if self._sitting is None:
            return
        if all(f.number != self.current for f in self.sheet.fields):
            self.current = self.sheet.fields[0].number
        down = self._stretch
        shown = [
            {"number": f.number, "state": f.state, "left": f.x, "right": f.x + f.width}
            | {"top": f.y * down, "bottom": (f.y + f.height) * down, "marks": [(x, y * down) for x, y in f.marks]}
            for f in self.sheet.fields
        ]
        self._map.run_method("show", shown, self.current)
        self._panel.show(self.sheet, self.current, self._sitting.is_saved)


def _invasive(found: OpenedRun) -> list[list[list[float]]]:
    drawn = [a.geometry for a in read_annotations(found.folder).annotations if a.classification == IDC_CLASS["name"]]
    return [ring for geometry in drawn for ring in found.on_map(geometry)]
