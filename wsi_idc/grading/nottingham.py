"""The Nottingham grade from what an observer judged: scores of 1 to 3, their sum, and the grade; nothing is guessed.

Elston CW, Ellis IO. Pathological prognostic factors in breast cancer. I. Histopathology 1991;19:403-410.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wsi_idc.errors import SettingsError

# Elston & Ellis counted ten fields of 0.274 mm2: up to 9 mitoses are score 1, up to 19 score 2, more score 3. The table
# by field diameter that followed (NHSBSP Publication 58, 2005; protocol of the College of American Pathologists; WHO
# Classification of Breast Tumours, 2019) has the same two densities in all its 30 rows: from 3.65 mitoses to the mm2 on
# score 2, from 7.30 on score 3. So these stand for the table, of which a test holds every number.
_COUNTED_MM2 = 2.74
_SECOND, _THIRD = 10, 20
# Its rows: ten fields of a diameter of 0.40 to 0.69 mm. Of other areas it says nothing, and so does this; but for two
# thousandths at both ends, since fields are whole pixels.
_DIAMETERS_MM = 0.40, 0.69
TABLE_MM2 = tuple(10 * math.pi / 4 * d**2 for d in _DIAMETERS_MM)
_ROUNDED = 0.002
SOURCE = (
    "Elston & Ellis 1991, Histopathology 19:403; table by field diameter 0.40 to 0.69 mm, ten fields "
    "(NHSBSP Publication 58, 2005; WHO Classification of Breast Tumours, 2019), by the area counted"
)
# What each score of the observer's own stands for.
TUBULES = {1: "more than 75 %", 2: "10 to 75 %", 3: "less than 10 %"}
PLEOMORPHISM = {
    1: "small, regular, uniform nuclei",
    2: "moderately larger and more variable",
    3: "marked variation in size and shape",
}


@dataclass(frozen=True, slots=True)
class CutOffs:
    """Of an area, up to how many mitoses are score 1, and up to how many score 2."""

    first: int
    second: int

    def score(self, mitoses: int) -> int:
        """Return the score of a count, 1 to 3."""
        return 1 if mitoses <= self.first else 2 if mitoses <= self.second else 3

    def in_words(self) -> str:
        """Say which counts have which score."""
        return f"score 1 up to {self.first}, 2 up to {self.second}, 3 from {self.second + 1}"


def cut_offs(area_mm2: float) -> CutOffs:
    """Return those of the area that was counted; raises SettingsError, with the way out, where the table has none."""
    least, most = TABLE_MM2
    if area_mm2 < least * (1 - _ROUNDED):
        raise SettingsError(
            f"{area_mm2:.3f} mm2 are counted, and the table of cut-offs begins at {least:.2f} mm2: count more fields"
        )
    if area_mm2 > most * (1 + _ROUNDED):
        raise SettingsError(
            f"{area_mm2:.3f} mm2 are counted, and the table of cut-offs ends at {most:.2f} mm2: count fewer fields"
        )
    # The last count that is below so many to the mm2.
    first, second = (math.ceil(round(area_mm2 * n / _COUNTED_MM2, 9)) - 1 for n in (_SECOND, _THIRD))
    return CutOffs(first, second)


def nottingham(tubules: int | None, pleomorphism: int | None, mitoses: int | None) -> tuple[int, int] | None:
    """Return the sum of three scores, 3 to 9, and the grade: 1 to a sum of 5, 2 to 7, 3 above; None where one lacks."""
    scores = tubules, pleomorphism, mitoses
    if None in scores:
        return None
    total = sum(s for s in scores if s is not None)
    return total, 1 if total <= 5 else 2 if total <= 7 else 3
