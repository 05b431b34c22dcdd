"""What editing does to outlines: drawn, reshaped, cut, split, merged, deleted; each step gives new ones."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import shapely
from shapely import Polygon
from shapely.ops import polygonize

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.formats.qupath import IDC_CLASS
from wsi_idc.annotations.write import whole_pixels
from wsi_idc.base.polygons import area_of, mended, polygons_of
from wsi_idc.errors import DataError

Outlines = tuple[Annotation, ...]
Point = tuple[float, float]
# Steps that can be undone.
_STEPS = 200


@dataclass(frozen=True, slots=True)
class Edited:
    """Outlines after a step: the ids of those that it left `chosen`, and what to tell, "" for nothing."""

    outlines: Outlines
    chosen: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """The outlines before and after each step; `at` is where one is."""

    states: tuple[Edited, ...]
    at: int = 0

    @property
    def now(self) -> Edited:
        """The outlines as they are."""
        return self.states[self.at]

    def then(self, edited: Edited) -> History:
        """Go on from here; what was undone is gone."""
        states = (*self.states[: self.at + 1], edited)[-_STEPS:]
        return History(states, len(states) - 1)

    def undo(self) -> History:
        """Go a step back, where there is one."""
        return replace(self, at=max(0, self.at - 1))

    def redo(self) -> History:
        """Take back what was undone last."""
        return replace(self, at=min(len(self.states) - 1, self.at + 1))


def beginning(annotations: Sequence[Annotation]) -> Edited:
    """Return the outlines to begin with, those of the class IDC; each gets an id where it has none."""
    kept = [a for a in annotations if a.classification == IDC_CLASS["name"]]
    return Edited(tuple(a if a.id else replace(a, id=str(uuid.uuid4())) for a in kept))


def draw(outlines: Outlines, points: Sequence[Point], size: tuple[int, int]) -> Edited:
    """Add what was drawn on a slide of `size` pixels; what others cover of it stays theirs.

    Raises DataError where nothing is left of it.
    """
    area, note = _area(points, size)
    parts, covered = _without(area, outlines)
    if not parts:
        raise DataError("nothing is left of what was drawn: other regions cover it; take Extend, or draw elsewhere")
    new = tuple(_new(part) for part in parts)
    return Edited((*outlines, *new), _ids(new), _told(note, covered))


def extend(outlines: Outlines, chosen: Collection[str], points: Sequence[Point], size: tuple[int, int]) -> Edited:
    """Add what was drawn to the one chosen region; what others cover of it stays theirs.

    Raises DataError where it does not touch the region.
    """
    region = _one(outlines, chosen)
    area, note = _area(points, size)
    if not shapely.intersects(area, region.geometry):
        raise DataError("what was drawn does not touch the chosen region; begin inside it, or take Draw for a new one")
    others = tuple(o for o in outlines if o is not region)
    parts, covered = _without(shapely.union(region.geometry, area), others)
    return _replaced(outlines, region, parts, _told(note, covered))


def cut(outlines: Outlines, chosen: Collection[str], points: Sequence[Point], size: tuple[int, int]) -> Edited:
    """Take what was drawn out of the chosen regions, or of all where it touches none of them: a hole, a bay, or parts.

    Raises DataError where that is nothing, or all of a region.
    """
    area, note = _area(points, size)
    edited = Edited(outlines, note=note)
    hit = [o for o in _meant(outlines, chosen, area) if shapely.intersection(o.geometry, area).area > 0]
    if not hit:
        raise DataError("what was drawn lies on no region that could be cut; nothing was changed")
    ids: tuple[str, ...] = ()
    for region in hit:
        parts = _whole(shapely.difference(region.geometry, area))
        if not parts:
            raise DataError("what was drawn covers all of a region; to take it away, choose it and take Delete")
        edited = _replaced(edited.outlines, region, parts, edited.note)
        ids += edited.chosen
    return replace(edited, chosen=ids)


def split(outlines: Outlines, chosen: Collection[str], line: Sequence[Point]) -> Edited:
    """Part the chosen regions, or all where it touches none of them, along a line; DataError where it parts none."""
    cutter = shapely.LineString(line)
    edited = Edited(outlines)
    ids: tuple[str, ...] = ()
    for region in _meant(outlines, chosen, cutter):
        # Where the line crosses itself or holes as well.
        lines = shapely.union_all([region.geometry.boundary, cutter])
        cells = [p for p in polygonize(lines) if region.geometry.covers(p.representative_point())]
        if len(cells) > len(polygons_of(region.geometry)):
            parts = [part for cell in cells for part in _whole(cell)]
            edited = _replaced(edited.outlines, region, parts, "")
            ids += edited.chosen
    if not ids:
        raise DataError("the line parts no region; draw it from outside right across, or from a hole to the outside")
    return replace(edited, chosen=ids)


def merge(outlines: Outlines, chosen: Collection[str]) -> Edited:
    """Make one region of those chosen; raises DataError where they are fewer than two, or lie apart."""
    regions = [o for o in outlines if o.id in chosen]
    if len(regions) < 2:
        raise DataError("choose two regions or more, with Shift and a click, to merge them")
    parts = _whole(shapely.union_all([r.geometry for r in regions]))
    if len(parts) > 1:
        raise DataError("the chosen regions lie apart; extend one of them until it touches the other, then merge")
    kept = tuple(o for o in outlines if o.id not in chosen)
    made = _new(parts[0])
    return Edited((*kept, made), _ids([made]))


def delete(outlines: Outlines, chosen: Collection[str]) -> Edited:
    """Take the chosen regions away; raises DataError where there is none."""
    if not any(o.id in chosen for o in outlines):
        raise DataError("choose a region to delete it")
    return Edited(tuple(o for o in outlines if o.id not in chosen))


def reshape(
    outlines: Outlines,
    chosen: Collection[str],
    corner: tuple[int, int],
    kind: Literal["move", "remove"],
    place: Point,
    size: tuple[int, int],
) -> Edited:
    """Move a corner of the one chosen region, or remove it; `corner` is the number of its ring and its own in there.

    Rings are those of all parts, each shell before its holes. Raises DataError where there is no such corner, or where
    nothing would be left.
    """
    region = _one(outlines, chosen)
    ring, number = corner
    parts, first = [], 0
    changed = False
    for part in polygons_of(region.geometry):
        rings = [shapely.get_coordinates(r)[:-1] for r in (part.exterior, *part.interiors)]
        if 0 <= ring - first < len(rings) and 0 <= number < len(rings[ring - first]):
            rings[ring - first] = _moved(rings[ring - first], number, kind, place)
            changed = True
        first += len(rings)
        if len(rings[0]) >= 3:
            parts.append(Polygon(rings[0], [r for r in rings[1:] if len(r) >= 3]))
    if not changed:
        raise DataError("that corner is not there any more; nothing was changed")
    areas, note = _mended(parts, size)
    others = tuple(o for o in outlines if o is not region)
    kept, covered = _without(shapely.union_all(areas), others)
    if not kept:
        raise DataError("nothing would be left of the region; to take it away, take Delete")
    return _replaced(outlines, region, kept, _told(note, covered))


def at(outlines: Outlines, place: Point) -> str | None:
    """Return the id of the smallest region at a place; None where there is none."""
    point = shapely.Point(place)
    found = [o for o in outlines if o.geometry.intersects(point)]
    return min(found, key=lambda o: o.geometry.area).id if found else None


def _meant(outlines: Outlines, chosen: Collection[str], drawn: shapely.Geometry) -> list[Annotation]:
    """Return the chosen regions that something drawn touches; where there is none, all that it touches."""
    touched = [o for o in outlines if shapely.intersects(drawn, o.geometry)]
    return [o for o in touched if o.id in chosen] or touched


def _moved(ring: np.ndarray, number: int, kind: str, place: Point) -> np.ndarray:
    if kind == "remove":
        return np.delete(ring, number, axis=0)
    ring = ring.copy()
    ring[number] = place
    return ring


def _area(points: Sequence[Point], size: tuple[int, int]) -> tuple[shapely.Geometry, str]:
    """Return the valid area within a slide of what was drawn, and what had to be mended."""
    if len(points) < 3:
        raise DataError("an area takes three corners or more; nothing was changed")
    areas, note = _mended([Polygon(points)], size)
    return shapely.union_all(areas), note


def _mended(parts: Sequence[Polygon], size: tuple[int, int]) -> tuple[list[Polygon], str]:
    """Return the valid areas of polygons within a slide, and what to tell where one crosses itself."""
    try:
        areas = [area for part in parts if (area := mended(part)) is not None]
    except ValueError as error:
        raise DataError(f"{error}; nothing was changed") from error
    whole = shapely.box(0, 0, *size)
    inside = [part for area in areas for part in _whole(shapely.intersection(area, whole))]
    if not inside:
        raise DataError("no area on the slide is left of it; nothing was changed")
    crossed = any(not part.is_valid for part in parts)
    count = f"{len(inside)} parts" if len(inside) > 1 else "one part"
    return inside, f"it crossed itself and was mended: {count}, as shown" if crossed else ""


def _without(area: shapely.Geometry, others: Outlines) -> tuple[list[Polygon], bool]:
    """Return the parts of an area that no other region covers, in whole pixels, and whether some of it is covered."""
    over = [o.geometry for o in others if shapely.intersection(o.geometry, area).area > 0]
    return _whole(shapely.difference(area, shapely.union_all(over)) if over else area), bool(over)


def _whole(area: shapely.Geometry) -> list[Polygon]:
    """Return the parts of an area with corners on whole pixels, valid as they are written."""
    found = area_of(area)
    whole = None if found.is_empty else whole_pixels(found)
    return [] if whole is None else polygons_of(whole)


def _replaced(outlines: Outlines, region: Annotation, parts: Sequence[Polygon], note: str) -> Edited:
    """Put parts, the largest under its name, where a region was."""
    if not parts:
        raise DataError("nothing would be left of the region; to take it away, take Delete")
    largest, *rest = sorted(parts, key=lambda p: (-p.area, p.bounds))
    new = (replace(region, geometry=largest, measurements={}), *(_new(part) for part in rest))
    place = [o.id for o in outlines].index(region.id)
    told = _told(note, False) if len(new) == 1 else "; ".join(filter(None, [note, f"{len(new)} regions now"]))
    return Edited((*outlines[:place], *new, *outlines[place + 1 :]), _ids(new), told)


def _told(note: str, covered: bool) -> str:
    return "; ".join(filter(None, [note, "what other regions cover stays theirs" if covered else ""]))


def _new(geometry: Polygon) -> Annotation:
    return Annotation(geometry, str(IDC_CLASS["name"]), id=str(uuid.uuid4()))


def _one(outlines: Outlines, chosen: Collection[str]) -> Annotation:
    found = [o for o in outlines if o.id in chosen]
    if len(found) != 1:
        raise DataError("choose one region, by a click on it, to change it")
    return found[0]


def _ids(outlines: Sequence[Annotation]) -> tuple[str, ...]:
    return tuple(str(o.id) for o in outlines)
