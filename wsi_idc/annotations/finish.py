"""From objects as drawn, of any format, to annotations: named, mended, holes cut, and told what was not read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import shapely
from shapely import MultiPolygon, Polygon, STRtree

from wsi_idc.annotations.annotation import Annotation, AnnotationFile
from wsi_idc.annotations.drawn import Drawn
from wsi_idc.annotations.notes import Notes
from wsi_idc.base.polygons import mended, polygons_of
from wsi_idc.base.tangled import Budget, check_overlaps

Area = Polygon | MultiPolygon
# Holes and areas that lie on each other: more pairs than in any drawing, and all that time and memory allow.
_MOST_CUTS = 200_000
# Corners that curves are given, of which a file may draw any number in a few bytes; not those of small ones.
_FEW, _CURVES, _MOST_OF_CURVES = 100, frozenset({"ellipse", "circle", "spline"}), 500_000


def finish(drawn: Iterable[Drawn], classes: Mapping[str, str]) -> AnnotationFile:
    """Make annotations of objects; `classes` gives their classes other names, an empty one to what is left out.

    Raises ValueError where there are objects and none can be read.
    """
    notes = Notes()
    kept: list[tuple[Drawn, str | None, Area]] = []
    holes: list[tuple[Drawn, Area]] = []
    named: set[str] = set()
    count = left_out = 0
    faults: list[str] = []
    budget = Budget()
    corners = 0
    for one in drawn:
        count += 1
        if one.shape.lower() in _CURVES:
            corners += sum(max(0, int(shapely.get_num_coordinates(part)) - _FEW) for part in one.parts)
            if corners > _MOST_OF_CURVES:
                raise ValueError(f"curves that would have more than {_MOST_OF_CURVES:,} corners; draw less")
        named.update(one.names)
        classification = _class_of(one.names, classes)
        if classification == "":
            text = f"{one.where}: its class {one.names[0]!r} was to be left out"
            notes.add("of a class that was to be left out", text)
            continue
        area, fault = _read(one, notes, budget)
        if fault:
            faults.append(f"{one.where}: {fault}")
        elif area is None:
            left_out += 1
        elif one.cuts is not None:
            holes.append((one, area))
        else:
            kept.append((one, classification, area))
    if count and len(faults) == count:
        raise ValueError(faults[0] if count == 1 else f"none of {count:,} objects can be read; {faults[0]}")
    areas = _cut([(one, area) for one, _, area in kept], holes, notes)
    annotations = [
        Annotation(area, classification, one.name, one.color, one.locked, one.id, one.measurements)
        for (one, classification, _), area in zip(kept, areas, strict=True)
        if area is not None
    ]
    unknown = [f"no object has the class {old!r} that was to be renamed" for old in classes if old not in named]
    return AnnotationFile(annotations, [*unknown, *notes.lines()], left_out + len(faults))


def _read(one: Drawn, notes: Notes, budget: Budget) -> tuple[Area | None, str]:
    """Return the area of an object, None where it has none, and why it cannot be read, "" where it can."""
    if one.note:
        notes.add(one.note, f"{one.where}: {one.note}")
    area, fault = None, one.fault
    try:
        area = None if fault else _area(one, notes, budget)
    except ValueError as error:
        fault = str(error)
    if fault:
        notes.add("that cannot be read, left out", f"{one.where}: cannot be read, left out ({fault})")
    elif area is None:
        notes.add("without an area, left out", f"{one.where}: {one.shape} without an area, left out")
    return area, fault


def _class_of(names: Sequence[str], classes: Mapping[str, str]) -> str | None:
    """Return the new name of the first name that has one, else the first name; None without any."""
    return next((classes[name] for name in names if name in classes), names[0] if names else None)


def _area(one: Drawn, notes: Notes, budget: Budget) -> Area | None:
    """Return the valid area of what was drawn, None where it has none; what had to be mended is noted.

    Raises ValueError where it crosses itself too often to be mended.
    """
    areas = [area for part in one.parts if (area := mended(part, budget)) is not None]
    polygons = [polygon for area in areas for polygon in polygons_of(area)]
    joined = polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
    wrong = [shapely.is_valid_reason(part) for part in one.parts if not part.is_valid]
    if not joined.is_valid:
        # Parts of one object may lie on each other: together they are what any of them covers.
        wrong.append("its parts overlap")
        check_overlaps(polygons)
        joined = mended(shapely.union_all(areas)) or joined
    if joined.is_empty:
        return None
    if wrong:
        parts = len(polygons_of(joined))
        text = f"{one.where}: {wrong[0]}; mended, {parts} part{'s' * (parts > 1)} of {joined.area:.0f} px2"
        notes.add("that had to be mended", text)
    return joined


def _cut(kept: Sequence[tuple[Drawn, Area]], holes: Sequence[tuple[Drawn, Area]], notes: Notes) -> list[Area | None]:
    """Cut each hole out of the areas of its layer that it lies on; not out of a smaller one within it, an island.

    Raises ValueError where so many lie on each other that they are no drawing.
    """
    cuts: list[list[Area]] = [[] for _ in kept]
    tree = STRtree([area for _, area in kept])
    pairs = 0
    for hole, area in holes:
        shapely.prepare(area)
        near = sorted(tree.query(area, predicate="intersects").tolist())
        pairs += len(near)
        if pairs > _MOST_CUTS:
            raise ValueError(f"{len(holes):,} holes and {len(kept):,} areas that lie on each other; draw less")
        own = [i for i in near if hole.cuts in kept[i][0].layers]
        for i in own:
            one, shape = kept[i]
            if area.covers(shape) and not area.equals(shape):
                text = f"{one.where}: lies in a hole ({hole.where}), kept as an island in it"
                notes.add("that lie in holes of their layer, kept as islands", text)
            else:
                cuts[i].append(area)
        if not own:
            text = f"{hole.where}: a hole that lies on nothing of its layer, left out"
            notes.add("that are holes and lie on nothing of their layer, left out", text)
    areas: list[Area | None] = []
    for (one, area), out in zip(kept, cuts, strict=True):
        left = mended(shapely.difference(area, shapely.union_all(out))) if out else area
        if left is None:
            notes.add("that holes cover wholly, left out", f"{one.where}: holes cover all of it, left out")
        areas.append(left)
    return areas
