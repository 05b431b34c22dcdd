"""What an observer judges of a slide, field by field: a worksheet, and the steps that change it; pure values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from wsi_idc.errors import DataError, SettingsError
from wsi_idc.grading.nottingham import CutOffs, cut_offs, nottingham
from wsi_idc.grading.nuclei import Nuclei
from wsi_idc.slides.scale import Mpp

State = Literal["open", "counted", "refused"]
# Mitoses are told from other dark nuclei by their chromatin, which slides scanned at 40x show: 0.25 um/px, as vendors
# round it.
COUNTABLE_UM = 0.275
# A click as near to a mark, in um, is on it: half a nucleus.
_ON_MARK_UM = 4.0
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Basis:
    """What a worksheet is about: a slide, its size in level-0 pixels and its scale, and the run that found its IDC."""

    slide: str
    fingerprint: str
    size: tuple[int, int]
    mpp: Mpp
    model: str
    model_sha256: str

    def unlike(self, other: Basis) -> str:
        """Say by what, in words, this is not what `other` is about; "" where both are about the same."""
        if self.fingerprint != other.fingerprint:
            return f"another slide, {self.slide},"
        if (self.mpp.x, self.mpp.y) != (other.mpp.x, other.mpp.y):
            return f"another scale, {self.mpp.x:.4g} x {self.mpp.y:.4g} um/px,"
        return "" if self.model_sha256 == other.model_sha256 else f"another model, {self.model},"

    @property
    def why_not_countable(self) -> str | None:
        """Why mitoses cannot be counted on this slide; None where they can."""
        finest = max(self.mpp.x, self.mpp.y)
        if finest <= COUNTABLE_UM:
            return None
        return (
            f"mitoses cannot be counted on this slide: it was scanned at {finest:.3g} um/px, and they are told from "
            "other dark nuclei at 0.25 um/px (40x); scan it again at 40x"
        )


@dataclass(frozen=True, slots=True)
class SheetField:
    """A square in whole level-0 pixels; `marks` are its mitoses, which count once the observer calls it counted.

    `came` says whether it was chosen by `wsi-idc fields`, moved since, or put in the place of a refused one.
    """

    number: int
    x: int
    y: int
    width: int
    height: int
    area_mm2: float
    state: State = "open"
    came: Literal["chosen", "moved", "replaced"] = "chosen"
    marks: tuple[Place, ...] = ()
    nuclei: Nuclei | None = None

    def has(self, x: float, y: float) -> bool:
        """Say whether a place lies in it."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height

    def overlaps(self, other: SheetField) -> bool:
        """Say whether it shares area with another one."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return across > 0 and down > 0


@dataclass(frozen=True, slots=True)
class Mitoses:
    """What was counted: in how many fields and mm2; `score` and `cut_offs`, or `why_no_score`."""

    count: int
    fields: int
    area_mm2: float
    per_mm2: float | None
    cut_offs: CutOffs | None
    score: int | None
    why_no_score: str | None


@dataclass(frozen=True, slots=True)
class Worksheet:
    """The fields of a slide with all that an observer judged, and the scores that follow from it and from nothing else.

    `tubules`, over the whole invasive area, and `pleomorphism` are the observer's scores, None until given.
    """

    basis: Basis
    fields: tuple[SheetField, ...]
    tubules: int | None = None
    pleomorphism: int | None = None
    note: str = field(default="", compare=False)

    @property
    def mitoses(self) -> Mitoses:
        """The count over all fields that are counted."""
        counted = [f for f in self.fields if f.state == "counted"]
        count, area = sum(len(f.marks) for f in counted), sum(f.area_mm2 for f in counted)
        per_mm2 = count / area if counted else None
        why = self.basis.why_not_countable or (None if counted else "no field is counted yet")
        limits = None
        if why is None:
            try:
                limits = cut_offs(area)
            except SettingsError as error:
                why = str(error)
        score = None if limits is None else limits.score(count)
        return Mitoses(count, len(counted), area, per_mm2, limits, score, why)

    @property
    def grade(self) -> tuple[int, int] | None:
        """The Nottingham sum and grade; None until all three scores are there."""
        return nottingham(self.tubules, self.pleomorphism, self.mitoses.score)

    def of(self, number: int) -> SheetField:
        """Return the field of a number; raises DataError where there is none."""
        for one in self.fields:
            if one.number == number:
                return one
        raise DataError(f"there is no field {number}")


Step = Callable[[Worksheet], Worksheet]


def mark(sheet: Worksheet, number: int, x: float, y: float) -> Worksheet:
    """Mark a mitosis in a field, or take away the mark that is there; raises DataError where none can be."""
    if sheet.basis.why_not_countable:
        raise DataError(sheet.basis.why_not_countable)
    one, mpp = sheet.of(number), sheet.basis.mpp
    if one.state == "refused":
        raise DataError(f"field {number} is refused: take it back to count in it")
    if not one.has(x, y):
        raise DataError(f"that is outside field {number}: mitoses are counted within its frame only")
    near = [m for m in one.marks if ((m[0] - x) * mpp.x) ** 2 + ((m[1] - y) * mpp.y) ** 2 <= _ON_MARK_UM**2]
    if near:
        nearest = min(near, key=lambda m: (m[0] - x) ** 2 + (m[1] - y) ** 2)
        return _with(sheet, replace(one, marks=tuple(m for m in one.marks if m != nearest)), "the mark is taken away")
    return _with(sheet, replace(one, marks=(*one.marks, (int(x), int(y)))))


def set_state(sheet: Worksheet, number: int, state: State) -> Worksheet:
    """Call a field counted, refused, or open again; raises DataError where it cannot be."""
    one = sheet.of(number)
    if state == "counted" and sheet.basis.why_not_countable:
        raise DataError(sheet.basis.why_not_countable)
    if state != "refused":
        _check_room(sheet, one)
    return _with(sheet, replace(one, state=state))


def move(sheet: Worksheet, number: int, x: float, y: float) -> Worksheet:
    """Move the middle of a field to a place; it is open again, and marks that are then outside are taken away.

    It stays on the slide; raises DataError where it would lie on another one.
    """
    one, size = sheet.of(number), sheet.basis.size
    left = min(max(0, round(x - one.width / 2)), max(0, size[0] - one.width))
    top = min(max(0, round(y - one.height / 2)), max(0, size[1] - one.height))
    moved = replace(one, x=left, y=top, state="open", came="moved", nuclei=None)
    _check_room(sheet, moved)
    kept = tuple(m for m in one.marks if moved.has(*m))
    lost = len(one.marks) - len(kept)
    note = "" if not lost else f"{lost} mark{'s are' if lost > 1 else ' is'} outside of it now and taken away"
    return _with(sheet, replace(moved, marks=kept), note)


def put_instead(sheet: Worksheet, number: int, place: tuple[int, int, int, int], area_mm2: float) -> Worksheet:
    """Refuse a field and add another one, (x, y, width, height); raises DataError where that lies on one."""
    refused = set_state(sheet, number, "refused")
    new = SheetField(max(f.number for f in sheet.fields) + 1, *place, area_mm2, came="replaced")
    _check_room(refused, new)
    return replace(refused, fields=(*refused.fields, new), note=f"field {new.number} stands in for field {number}")


def judge(sheet: Worksheet, *, tubules: int | None = None, pleomorphism: int | None = None) -> Worksheet:
    """Take the observer's scores, those that are given."""
    changed = replace(sheet, note="")
    changed = changed if tubules is None else replace(changed, tubules=tubules)
    return changed if pleomorphism is None else replace(changed, pleomorphism=pleomorphism)


def measured(sheet: Worksheet, number: int, at: Place, nuclei: Nuclei) -> Worksheet:
    """Put what was measured beside a field, unless it has been moved from `at` meanwhile; that is no step."""
    one = sheet.of(number)
    return _with(sheet, replace(one, nuclei=nuclei), sheet.note) if (one.x, one.y) == at else sheet


def _with(sheet: Worksheet, changed: SheetField, note: str = "") -> Worksheet:
    fields = tuple(changed if f.number == changed.number else f for f in sheet.fields)
    return replace(sheet, fields=fields, note=note)


def _check_room(sheet: Worksheet, one: SheetField) -> None:
    for other in sheet.fields:
        if other.number != one.number and other.state != "refused" and one.overlaps(other):
            raise DataError(f"it would lie on field {other.number}: what both show would be counted twice")
