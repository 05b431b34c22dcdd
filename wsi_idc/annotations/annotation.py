"""What is outlined on a slide, whatever program it was drawn in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from shapely import MultiPolygon, Polygon

# What says which part of a slide was looked at; the second is a class that QuPath has from the start.
ROI_CLASSES = ("ROI", "Region*")


def is_roi(classification: str | None, roi_classes: Collection[str] = ROI_CLASSES) -> bool:
    """Say whether a class is one of those of ROIs, in whatever case it is written."""
    return classification is not None and classification.casefold() in {name.casefold() for name in roi_classes}


def is_ignored(classification: str | None) -> bool:
    """Say whether a class is neither positive nor negative: one that ends in "*", as QuPath's Ignore*.

    So is one derived from such a class, as "Ignore*: Necrosis". Region* is none of these: it says what was looked at.
    """
    names = [name.strip() for name in (classification or "").split(":")]
    return any(name.endswith("*") and not is_roi(name) for name in names)


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
    """The annotations of a file, and in words what had to be mended or left out of it, one line each.

    `left_out` is how many objects could not be read, or have no area. `origin` is what the file says of what it was
    made of, as `slide` and `slide_fingerprint`: nothing, in most.
    """

    annotations: list[Annotation]
    notes: list[str] = field(default_factory=list)
    left_out: int = 0
    origin: Mapping[str, Any] = field(default_factory=dict)
