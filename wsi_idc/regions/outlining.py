"""How regions are asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outlining:
    """How regions are made of probabilities.

    A region is where the probability reaches `low`, if somewhere in it it reaches `threshold` (hysteresis; None for the
    threshold itself). Smaller regions than `min_area_mm2` are left out, smaller holes than `min_hole_mm2` filled.
    `smooth_um` is the tolerance by which outlines are simplified (Douglas-Peucker, keeping their topology).
    """

    threshold: float
    low: float | None = None
    min_area_mm2: float = 0.0
    min_hole_mm2: float = 0.0
    smooth_um: float = 5.0

    @property
    def level(self) -> float:
        """The probability along which outlines run."""
        return self.threshold if self.low is None else min(self.low, self.threshold)
