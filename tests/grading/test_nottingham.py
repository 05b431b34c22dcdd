import math
from itertools import product

import pytest

from wsi_idc.errors import SettingsError
from wsi_idc.grading.nottingham import cut_offs, nottingham

# The published table: field diameter in mm, the last count of score 1, the last of score 2, in ten fields.
TABLE = """
0.40 4 9;0.41 4 9;0.42 5 10;0.43 5 10;0.44 5 11;0.45 5 11;0.46 6 12;0.47 6 12;0.48 6 13;0.49 6 13
0.50 7 14;0.51 7 14;0.52 7 15;0.53 8 16;0.54 8 16;0.55 8 17;0.56 8 17;0.57 9 18;0.58 9 19;0.59 9 19
0.60 10 20;0.61 10 21;0.62 11 22;0.63 11 22;0.64 11 23;0.65 12 24;0.66 12 24;0.67 12 25;0.68 13 26;0.69 13 27
"""
ROWS = [row.split() for row in TABLE.strip().replace("\n", ";").split(";")]


@pytest.mark.parametrize(("diameter", "first", "second"), ROWS)
def test_cut_offs_are_those_of_the_published_table(diameter, first, second):
    found = cut_offs(10 * math.pi / 4 * float(diameter) ** 2)
    assert (found.first, found.second) == (int(first), int(second))


def test_the_table_is_whole():
    assert [row[0] for row in ROWS] == [f"{0.4 + n / 100:.2f}" for n in range(30)]


def test_the_area_of_elston_and_ellis_has_their_cut_offs():
    """Ten fields of 0.274 mm2: 0 to 9, 10 to 19, 20 and more."""
    found = cut_offs(2.74)
    assert [found.score(n) for n in (0, 9, 10, 19, 20, 99)] == [1, 1, 2, 2, 3, 3]
    assert found.in_words() == "score 1 up to 9, 2 up to 19, 3 from 20"


@pytest.mark.parametrize(("area", "why"), [(0.0, "more"), (1.25, "more"), (3.75, "fewer"), (40, "fewer")])
def test_of_areas_that_the_table_does_not_have_nothing_is_said(area, why):
    with pytest.raises(SettingsError, match=f"count {why} fields"):
        cut_offs(area)


def test_every_sum_has_its_grade():
    grades = {sum(s): nottingham(*s) for s in product((1, 2, 3), repeat=3)}
    assert grades == {3: (3, 1), 4: (4, 1), 5: (5, 1), 6: (6, 2), 7: (7, 2), 8: (8, 3), 9: (9, 3)}


@pytest.mark.parametrize("scores", [(None, 2, 3), (1, None, 3), (1, 2, None), (None, None, None)])
def test_without_one_of_the_three_there_is_no_grade(scores):
    assert nottingham(*scores) is None
