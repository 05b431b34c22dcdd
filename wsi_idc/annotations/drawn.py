"""What all formats are read into: objects as drawn; mending and naming come after, in `finish`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import shapely
from shapely import Polygon

from wsi_idc.annotations.shapes import checked_points
from wsi_idc.base.shown import whole

Color = tuple[int, int, int]
Shape = TypeVar("Shape", bound=shapely.Geometry)


@dataclass(frozen=True, slots=True)
class Drawn:
    """An object of a file of any format before it is mended: its polygons as drawn, in level-0 pixels.

    `parts` is empty for what has no area, and `shape` says what that is. `names` are what may name the class, the best
    first. `layers` says where the object lies; with `cuts` it is no annotation itself but a hole in those of a layer.
    `fault` says why the object cannot be read, and `note` what to know of one that can.
    """

    where: str
    shape: str
    parts: Sequence[Polygon]
    names: tuple[str, ...] = ()
    name: str = ""
    color: Color | None = None
    locked: bool = False
    id: str | None = None
    measurements: Mapping[str, float] = field(default_factory=dict)
    layers: frozenset[str] = frozenset()
    cuts: str | None = None
    note: str = ""
    fault: str = ""

    def __post_init__(self) -> None:
        """Make all texts such as can be written again, whatever the file has in them."""
        texts: dict[str, object] = {key: whole(getattr(self, key)) for key in ("where", "name", "note", "fault")}
        texts |= {"names": tuple(whole(name) for name in self.names), "id": self.id and whole(self.id)}
        texts |= {"measurements": {whole(key): value for key, value in self.measurements.items()}}
        for key, value in texts.items():
            object.__setattr__(self, key, value)


def polygon(rings: Sequence[np.ndarray | Sequence[Any]]) -> list[Polygon]:
    """Build a polygon from rings (n, 2), the shell first, closed or not; none from a shell of less than three points.

    Raises ValueError for coordinates that are no place on a slide.
    """
    checked = [checked_points(ring) for ring in rings]
    if not checked or len(checked[0]) < 3:
        return []
    return [Polygon(checked[0], [ring for ring in checked[1:] if len(ring) >= 3])]


def normal(geometry: Shape) -> Shape:
    """Return a valid geometry in the form that all with its corners have, whatever their order was."""
    return shapely.normalize(shapely.remove_repeated_points(geometry))
