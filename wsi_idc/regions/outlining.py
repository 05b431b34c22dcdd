"""How regions are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from wsi_idc.base.setting import check, setting
from wsi_idc.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Outlining:
    """How regions are made of probabilities; raises SettingsError for what cannot be meant.

    A region is where the probability reaches `low`, if somewhere in it it reaches `threshold` (hysteresis). Outlines
    are simplified by Douglas and Peucker's algorithm, keeping their topology. A `threshold` of None is left to the
    model, and has to be filled in before regions are made; so is a `min_area_mm2` of None, without which every region
    is a focus.
    """

    threshold: float | None = setting(
        None,
        "Probability from which a patch is IDC.",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        without="the model's",
        of_model="threshold",
    )
    low: float | None = setting(
        None,
        "Let a region go on to this lower probability (hysteresis).",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        without="the threshold",
    )
    min_area_mm2: float | None = setting(
        None,
        "Smallest focus in mm2; smaller regions, slivers, are listed apart.",
        unit="mm2",
        low=0,
        option="--min-area",
        without="one patch of the model",
        of_model="patch_mm2",
    )
    min_hole_mm2: float = setting(
        0.0, "Smallest hole in mm2; smaller ones are filled.", unit="mm2", low=0, option="--min-hole"
    )
    smooth_um: float = setting(
        5.0,
        "Simplify outlines, with this tolerance in um.",
        unit="um",
        low=0,
        high=1000,
        option="--smooth",
        metavar="UM",
    )
    bands: tuple[float, ...] = setting(
        (),
        "Outline also, as classes of their own, what lies between these probabilities.",
        metavar="P,P,...",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
    )

    def __post_init__(self) -> None:
        """Check each setting, and those that depend on one another."""
        check(self)
        if self.low is not None and self.threshold is not None and self.low > self.threshold:
            raise SettingsError(
                f"low = {self.low:g}: is above the threshold; give at most the threshold, {self.threshold:g}"
            )

    @property
    def peak(self) -> float:
        """The probability that a region has to reach somewhere; raises SettingsError where it is left to a model."""
        if self.threshold is None:
            raise SettingsError("threshold = None: there is no model to take it from; give a number")
        return self.threshold

    @property
    def level(self) -> float:
        """The probability along which outlines run."""
        return self.peak if self.low is None else self.low
