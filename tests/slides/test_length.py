from __future__ import annotations

import pytest

from wsi_idc.slides.length import length_um, micrometres

UNITS = {
    1.0: ["µm", "μm", "um", "\\u00B5m", "\\u03bcm", "micron", "Microns", "micrometer", "micrometre", " µm "],
    1e-3: ["nm", "nanometer"],
    1e3: ["mm", "MM", "millimetre"],
    1e4: ["cm", "centimeter"],
    1e6: ["m", "metre"],
    1e5: ["dm"],
    1e7: ["dam"],
    1e8: ["hm"],
    1e9: ["km"],
    1e12: ["Mm"],
    1e-6: ["pm"],
    1e-4: ["Å", "\u212b", "A\u030a", "angstrom"],
    25_400.0: ["in", "inch", '"', "inches"],
    25_400 / 72: ["pt", "point"],
    25.4: ["thou", "mil"],
    25_400 / 12: ["li"],
    304_800.0: ["ft"],
}


@pytest.mark.parametrize(("um", "spelling"), [(um, spelling) for um, all_ in UNITS.items() for spelling in all_])
def test_units_in_their_spellings(um: float, spelling: str) -> None:
    assert micrometres(spelling) == pytest.approx(um)


@pytest.mark.parametrize("unit", ["pixel", "reference frame", "", "parsec", "s", "xm"])
def test_what_is_no_unit_of_length(unit: str) -> None:
    assert micrometres(unit) is None
    assert length_um("1", unit) is None


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "", "abc", None])
def test_what_is_no_length(value: str | None) -> None:
    assert length_um(value, "µm") is None


def test_a_decimal_comma() -> None:
    assert length_um("0,25", "mm") == pytest.approx(250)
