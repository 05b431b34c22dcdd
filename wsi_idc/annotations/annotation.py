"""What is outlined on a slide, whatever program it was drawn in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shapely import MultiPolygon, Polygon

# What says which part of a slide was looked at; the second is a class that QuPath has from the start.
ROI_CLASSES = ("ROI", "Region*")


@dataclass(frozen=True, slots=True)
class Annotation:
    """An outline of a class on a slide: a valid polygon, or several, with holes, in level-0 pixels as QuPath shows it.

    `classification` is None where the file names no class. `color` is RGB, 0 to 255.
    """

    geometry: Polygon | MultiPolygon
    classification: str | None = None
    name: str = ""
    color: tuple[int, int, int] | None = None
    locked: bool = False
    id: str | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """The annotations of a file, and in words what had to be mended or left out of it, one line each."""

    annotations: list[Annotation]
    notes: list[str] = field(default_factory=list)
