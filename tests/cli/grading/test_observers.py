import json

import pytest
from click.testing import CliRunner

from wsi_idc.cli.group import main
from wsi_idc.grading import worksheet as ws
from wsi_idc.grading.record import Record, write_record
from wsi_idc.grading.worksheet import Basis, SheetField, Worksheet
from wsi_idc.slides.scale import Mpp


def judged(slide, mitoses, tubules, pleomorphism):
    """Six fields of 0.237 mm2, counted: 1.42 mm2, of which 5 mitoses are score 1 and 10 score 2."""
    basis = Basis(f"{slide}.svs", slide, (40000, 4000), Mpp(0.25, 0.25, "tiff"), "idc-context", "0" * 64)
    area = (1947 * 0.25 / 1000) ** 2
    sheet = Worksheet(basis, tuple(SheetField(n, (n - 1) * 2000, 0, 1947, 1947, area) for n in range(1, 7)))
    for n in range(mitoses):
        sheet = ws.mark(sheet, 1, 100 + 100 * n, 100)
    for n in range(1, 7):
        sheet = ws.set_state(sheet, n, "counted")
    return ws.judge(sheet, tubules=tubules, pleomorphism=pleomorphism)


@pytest.fixture
def output(tmp_path):
    """Three slides, of which ada and bob give the grades 1, 2, 3 and 1, 2, 2."""
    found = {
        "ada": [judged("a", 2, 1, 1), judged("b", 8, 2, 2), judged("c", 15, 3, 3)],
        "bob": [judged("a", 3, 1, 1), judged("b", 8, 2, 2), judged("c", 9, 2, 3)],
    }
    for name, sheets in found.items():
        for number, sheet in enumerate(sheets):
            record = Record(sheet, name, "2026-01-01T00:00:00+00:00")
            write_record(record, tmp_path / f"slide-{number}" / "worksheets" / name / "20260101-1")
    return tmp_path


def test_two_observers_of_three_slides(output):
    result = CliRunner().invoke(main, ["observers", str(output), "--json"])
    assert result.exit_code == 0, result.output
    (pair,) = json.loads(result.output)["pairs"]
    assert pair["observers"] == ["ada", "bob"]
    assert [s["scores"]["grade"] for s in pair["slides"]] == [[1, 1], [2, 2], [3, 2]]
    # Two of three alike; by chance (1 * 1 + 1 * 2 + 1 * 0) / 9 = 1/3.
    assert pair["kappa"]["grade"]["agreement"] == pytest.approx(2 / 3)
    assert pair["kappa"]["grade"]["kappa"] == pytest.approx((2 / 3 - 1 / 3) / (2 / 3))
    assert pair["slides"][0]["marks_agreement"] == pytest.approx(4 / 5)


def test_it_is_told_in_tables(output):
    result = CliRunner().invoke(main, ["observers", str(output)])
    assert result.exit_code == 0 and "ada and bob" in result.output
    assert "all counted" in result.output and "0.500" in result.output


def test_a_name_written_in_another_way_is_the_same_observer(output):
    """The worksheet that was saved last counts, and the name is shown as it is written there."""
    later = Record(judged("a", 9, 3, 3), "Bo\u0308b", "2026-01-03T00:00:00+00:00")
    write_record(later, output / "again" / "1")
    write_record(Record(judged("a", 2, 1, 1), "bÖB", "2026-01-02T00:00:00+00:00"), output / "again" / "2")
    write_record(Record(judged("a", 2, 1, 1), "ADA ", "2026-01-02T00:00:00+00:00"), output / "again" / "3")
    result = CliRunner().invoke(main, ["observers", str(output), "--json"])
    pairs = json.loads(result.output)["pairs"]
    assert [p["observers"] for p in pairs] == [["ADA ", "bob"], ["ADA ", "Bo\u0308b"], ["bob", "Bo\u0308b"]]
    assert [len(p["slides"]) for p in pairs] == [3, 1, 1]
    assert pairs[1]["slides"][0]["scores"]["tubules"] == [1, 3]
    alone = CliRunner().invoke(main, ["observers", str(output / "again" / "1"), str(output / "again" / "2")])
    assert alone.exit_code == 1 and "no slide was judged by two observers" in alone.output


def test_one_that_is_damaged_is_named(output):
    (file,) = output.glob("slide-1/worksheets/bob/*/worksheet.json")
    file.write_text(file.read_text().replace('"observer": "bob"', '"observer": 7'))
    result = CliRunner().invoke(main, ["observers", str(output)])
    assert result.exit_code == 1 and result.output.startswith(f"error: {file}: is no worksheet of this version")
