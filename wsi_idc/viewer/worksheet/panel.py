"""What stands beside the map of the worksheet: the current field, all fields, the three scores, the grade."""

from __future__ import annotations

from typing import Protocol

from nicegui import ui

from wsi_idc.grading import worksheet as steps
from wsi_idc.grading.nottingham import PLEOMORPHISM, SOURCE, TUBULES
from wsi_idc.grading.nuclei import METHOD
from wsi_idc.grading.worksheet import SheetField, Step, Worksheet
from wsi_idc.runs.results.summary import RESEARCH_USE
from wsi_idc.viewer.controls import BUTTON, keys_button

KEYS = (
    ("click", "mark a mitosis; on a mark, take it away"),
    ("Space, Shift+Space", "the next, the previous view of the field at 40x"),
    ("n, p", "the next, the previous field"),
    ("c", "counted: all of the field was looked at"),
    ("r, m", "refuse the field, or take it back; move it"),
    ("Ctrl+Z, Ctrl+Y, Ctrl+S", "undo, redo, save"),
    ("0", "the whole slide"),
)
_CAME = {"chosen": "", "moved": ", moved", "replaced": ", in place of a refused one"}


class Acts(Protocol):
    """What the page does when it is told."""

    @property
    def sheet(self) -> Worksheet: ...  # noqa: D102

    async def go(self, number: int) -> None: ...  # noqa: D102
    async def do(self, step: Step) -> bool: ...  # noqa: D102
    async def counted(self) -> None: ...  # noqa: D102
    async def refuse(self) -> None: ...  # noqa: D102
    async def replace(self) -> None: ...  # noqa: D102
    async def undo(self, way: int = -1) -> None: ...  # noqa: D102
    async def save(self) -> None: ...  # noqa: D102
    async def invasive(self) -> None: ...  # noqa: D102
    def move(self) -> None: ...  # noqa: D102
    def step_view(self, way: int) -> None: ...  # noqa: D102


class Panel:
    """The column of controls; it tells the page what is to be done, and shows a worksheet."""

    def __init__(self, page: Acts, observer: str) -> None:
        """Build the controls in the place that is open."""
        self._page = page
        with ui.column().classes("gap-1 pr-2").style("width: 25rem; flex: none; height: 100%; overflow-y: auto"):
            self._of_saving(observer)
            self._warning = ui.label("").classes("font-bold").props("role=alert")
            self._of_field()
            self._rows = ui.column().classes("w-full gap-0")
            self._of_scores()
            ui.label(f"Nuclei: {METHOD}.").classes("text-xs")
            ui.label(f"Cut-offs: {SOURCE}. {RESEARCH_USE}").classes("text-xs")

    def _of_saving(self, observer: str) -> None:
        page = self._page
        with ui.row().classes("items-center gap-2 w-full"):
            ui.label(f"Observer: {observer}").classes("font-bold")
            self._state = ui.label("").props("aria-live=polite")
        with ui.row().classes("items-center gap-1"):
            ui.button("Save", on_click=page.save).props("dense no-caps").classes("px-3")
            ui.button("Undo", on_click=lambda: page.undo()).props(BUTTON)
            ui.button("Redo", on_click=lambda: page.undo(1)).props(BUTTON)
            keys_button(KEYS)
        # One line or two, whatever is told: what is below it would else move away from under the hand.
        self._told = ui.label("").props("aria-live=polite").classes("text-sm").style("min-height: 2.6rem")

    def _of_field(self) -> None:
        page = self._page
        self._title = ui.label("").classes("text-base font-bold").props("role=heading aria-level=2")
        self._count = ui.label("").props("aria-live=polite")
        self._nuclei = ui.label("").classes("text-sm")
        with ui.row().classes("items-center gap-1"):
            self._done = ui.button("Counted (c)", on_click=page.counted).props("dense no-caps").classes("px-2")
            self._refuse = ui.button("Refuse (r)", on_click=page.refuse).props(BUTTON)
            ui.button("Move (m)", on_click=page.move).props(BUTTON)
            ui.button("Replace", on_click=page.replace).props(BUTTON)
        with ui.row().classes("items-center gap-1"):
            ui.button("View before", on_click=lambda: page.step_view(-1)).props(BUTTON)
            self._view = ui.label("").classes("text-sm")
            ui.button("Next view (Space)", on_click=lambda: page.step_view(1)).props(BUTTON)

    def _of_scores(self) -> None:
        page = self._page
        ui.label("Mitoses").classes("font-bold").props("role=heading aria-level=2")
        self._mitoses = ui.label("").classes("text-sm").props("aria-live=polite")
        with ui.row().classes("items-center gap-2"):
            ui.label("Tubules, share of the whole invasive area").classes("font-bold").props(
                "role=heading aria-level=2"
            )
            ui.button("Show it", on_click=page.invasive).props(BUTTON)
        self._tubules = ui.radio({n: f"{n}: {text}" for n, text in TUBULES.items()}).props("dense")
        self._tubules.props('aria-label="Tubules"')
        ui.label("Nuclear pleomorphism, in the fields").classes("font-bold").props("role=heading aria-level=2")
        self._pleomorphism = ui.radio({n: f"{n}: {text}" for n, text in PLEOMORPHISM.items()}).props("dense")
        self._pleomorphism.props('aria-label="Nuclear pleomorphism"')
        self._tubules.on_value_change(lambda e: self._judged(tubules=e.value))
        self._pleomorphism.on_value_change(lambda e: self._judged(pleomorphism=e.value))
        self._grade = ui.label("").classes("text-base font-bold").props("aria-live=polite role=status")

    async def _judged(self, tubules: int | None = None, pleomorphism: int | None = None) -> None:
        sheet = self._page.sheet
        # What the page itself shows after a step back is no judgement.
        if (tubules, pleomorphism) in ((sheet.tubules, None), (None, sheet.pleomorphism), (None, None)):
            return
        await self._page.do(lambda s: steps.judge(s, tubules=tubules, pleomorphism=pleomorphism))

    def say(self, text: str, alarm: bool = False) -> None:
        """Tell the observer something in a line."""
        self._told.set_text(text[:1].upper() + text[1:])
        self._told.classes(add="font-bold" if alarm else "", remove="" if alarm else "font-bold")

    def views(self, view: int, views: int) -> None:
        """Say which view of the field is seen."""
        self._view.set_text(f"view {view} of {views} at 40x")

    def show(self, sheet: Worksheet, current: int, is_saved: bool) -> None:
        """Show a worksheet, and one of its fields."""
        one, uncountable = sheet.of(current), sheet.basis.why_not_countable
        self._state.set_text("saved" if is_saved else "not saved; kept as a draft")
        self._warning.set_text(_warning(sheet))
        self._title.set_text(f"Field {current} of {len(sheet.fields)}: {one.state}{_CAME[one.came]}")
        self._count.set_text("" if uncountable else _count(one))
        self._nuclei.set_text(_nuclei(one))
        self._done.set_enabled(not uncountable and one.state != "refused")
        self._refuse.set_text("Take back (r)" if one.state == "refused" else "Refuse (r)")
        self._mitoses.set_text(_mitoses(sheet))
        self._tubules.set_value(sheet.tubules)
        self._pleomorphism.set_value(sheet.pleomorphism)
        self._grade.set_text(_grade(sheet))
        self._list(sheet, current)

    def _list(self, sheet: Worksheet, current: int) -> None:
        self._rows.clear()
        with self._rows, ui.element("table").classes("w-full text-sm").style("border-collapse: collapse"):
            with ui.element("tr"):
                for head in ("field", "", "mitoses", "per mm²", "nuclei per mm²"):
                    _cell("th", head)
            for one in sheet.fields:
                # Of what was not looked at nought is not known.
                seen = one.marks or (one.state == "counted" and not sheet.basis.why_not_countable)
                counts = (f"{len(one.marks)}", f"{len(one.marks) / one.area_mm2:.1f}") if seen else ("-", "-")
                style = "background: #1565c033" if one.number == current else ""
                with ui.element("tr").style(style):
                    with ui.element("td"):
                        go = ui.button(f"{one.number}", on_click=lambda _, n=one.number: self._page.go(n)).props(BUTTON)
                        go.props(f'aria-label="Go to field {one.number}"').classes("px-2")
                    for text in (one.state, *counts, f"{one.nuclei.per_mm2:.0f}" if one.nuclei else ""):
                        _cell("td", text)


def _cell(tag: str, text: str) -> None:
    with ui.element(tag).style("text-align: left; padding: 0 0.5rem 0 0; font-weight: 400"):
        ui.label(text)


def _warning(sheet: Worksheet) -> str:
    if why := sheet.basis.why_not_countable:
        return f"{why[:1].upper()}{why[1:]}. Tubules and pleomorphism can be noted; there is no grade without mitoses."
    if sheet.basis.mpp.estimated:
        return "The scale of this slide is an estimate, and so are all areas and numbers per mm²."
    return ""


def _count(one: SheetField) -> str:
    count = len(one.marks)
    density = f"{count / one.area_mm2:.2f} per mm² of {one.area_mm2:.3f} mm²"
    return f"{count} mitos{'is' if count == 1 else 'es'}, {density}"


def _nuclei(one: SheetField) -> str:
    if one.nuclei is None:
        return "Nuclei: not measured"
    n = one.nuclei
    size = (
        "" if n.area_um2 is None else f", median {n.area_um2[1]:.0f} µm² ({n.area_um2[0]:.0f} to {n.area_um2[2]:.0f})"
    )
    return f"Nuclei, as measured: {n.count:,}, {n.per_mm2:,.0f} per mm²{size}"


def _mitoses(sheet: Worksheet) -> str:
    m = sheet.mitoses
    if sheet.basis.why_not_countable:
        return "None: see above."
    seen = f"{m.count} in {m.area_mm2:.3f} mm² ({m.fields} fields counted)"
    density = "" if m.per_mm2 is None else f", {m.per_mm2:.2f} per mm²"
    still = sum(f.state == "open" for f in sheet.fields)
    left = f" {still} field{'s are' if still > 1 else ' is'} still open." if still else ""
    if m.cut_offs is None:
        return f"{seen}{density}. No score: {m.why_no_score}.{left}"
    return f"{seen}{density}. Score {m.score}; of this area, {m.cut_offs.in_words()}.{left}"


def _grade(sheet: Worksheet) -> str:
    scores = (("tubules", sheet.tubules), ("pleomorphism", sheet.pleomorphism), ("mitoses", sheet.mitoses.score))
    if sheet.grade is None:
        return f"No grade yet; not scored: {', '.join(name for name, score in scores if score is None)}"
    total, grade = sheet.grade
    return f"Nottingham: {' + '.join(str(score) for _, score in scores)} = {total}, grade {grade}"
