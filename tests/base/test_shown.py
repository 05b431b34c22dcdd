import logging

import pytest

from wsi_idc.base.shown import cells, no_formula, printable, shown_record, with_formula


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 名.svs", "plain é 名.svs"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x1b]0;title\x07.svs", r"\x1b[31mred\x1b]0;title\x07.svs"),
        ("a\rb\x7f\x9b2J", r"a\rb\x7f\x9b2J"),
        ("gvs.\u202eelif", r"gvs.\u202eelif"),
        ("\udcff.svs", "\ufffd.svs"),
    ],
)
def test_what_is_printed_holds_no_codes(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "@sum", "\t=1", "\r=1", "\n=1", "'=1"])
def test_a_cell_is_no_formula_and_comes_back(text):
    assert no_formula(text) == f"'{text}"
    assert with_formula(no_formula(text)) == text


def test_numbers_in_a_table_stay_numbers():
    assert cells({"a": -1.5, "b": "-1.5", "c": "-cmd", "d": None}) == {"a": -1.5, "b": "-1.5", "c": "'-cmd", "d": None}


def test_what_is_logged_is_printable():
    record = logging.LogRecord("wsi_idc", logging.INFO, "", 0, "%s: %d", ("\x1b[2J", 3), None)
    assert shown_record(record)
    assert record.getMessage() == r"\x1b[2J: 3"
