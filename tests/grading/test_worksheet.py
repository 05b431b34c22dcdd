import csv
import json
import math
from dataclasses import replace

import jsonschema
import pytest

from wsi_idc.errors import DataError, OutputError
from wsi_idc.grading import worksheet as ws
from wsi_idc.grading.nuclei import Nuclei
from wsi_idc.grading.observers import compare_observers, find_records, kappa
from wsi_idc.grading.record import SCHEMA, Record, read_record, write_record
from wsi_idc.grading.worksheet import Basis, SheetField, Worksheet
from wsi_idc.slides.scale import Mpp

MPP = Mpp(0.25, 0.25, "tiff")


def sheet(mpp=MPP, number=10, side=1947):
    """Ten fields of 0.237 mm2 side by side."""
    basis = Basis("s.svs", "abc", (40000, 4000), mpp, "idc-context", "0" * 64)
    area = side * mpp.x * side * mpp.y / 1e6
    return Worksheet(basis, tuple(SheetField(n, (n - 1) * 2000, 0, side, side, area) for n in range(1, number + 1)))


def counted(number, mitoses, made=None):
    """The first `number` fields counted, all mitoses in the first."""
    found = made or sheet()
    for n in range(mitoses):
        found = ws.mark(found, 1, 100 + 40 * n, 100)
    for n in range(1, number + 1):
        found = ws.set_state(found, n, "counted")
    return found


def test_the_grade_by_hand():
    """Ten fields of 0.23693 mm2: 2.3693 mm2, of which 3.65 and 7.30 mitoses to the mm2 are 8.65 and 17.29."""
    found = ws.judge(counted(10, 9), tubules=2, pleomorphism=3)
    m = found.mitoses
    assert (m.count, m.fields, m.area_mm2) == (9, 10, pytest.approx(2.36926, abs=1e-4))
    assert m.per_mm2 == pytest.approx(9 / 2.36926, abs=1e-4)
    assert (m.cut_offs.first, m.cut_offs.second, m.score) == (8, 17, 2)
    assert found.grade == (7, 2)


@pytest.mark.parametrize(("mitoses", "score"), [(0, 1), (8, 1), (9, 2), (17, 2), (18, 3)])
def test_the_score_follows_from_the_count(mitoses, score):
    assert counted(10, mitoses).mitoses.score == score


def test_fewer_fields_have_lower_cut_offs_and_too_few_none():
    assert counted(6, 5).mitoses.score == 1 and counted(6, 6).mitoses.score == 2
    few = counted(5, 9).mitoses
    assert (few.score, few.count) == (None, 9) and "count more fields" in few.why_no_score
    assert ws.judge(counted(5, 9), tubules=1, pleomorphism=1).grade is None


def test_what_was_not_looked_at_counts_for_nothing():
    """Neither its marks nor its area: nought mitoses in an unseen field would lower the density."""
    found = ws.mark(sheet(), 1, 10, 10)
    assert (found.mitoses.count, found.mitoses.area_mm2, found.mitoses.score) == (0, 0, None)
    refused = ws.set_state(counted(10, 3), 1, "refused")
    assert (refused.mitoses.count, refused.mitoses.fields) == (0, 9)


@pytest.mark.parametrize("mpp", [0.5, 1.0, 4.0])
def test_on_a_coarse_slide_mitoses_cannot_be_counted(mpp, tmp_path):
    coarse = sheet(Mpp(mpp, mpp, "tiff"), side=int(487 / mpp))
    for step in (lambda: ws.mark(coarse, 1, 5, 5), lambda: ws.set_state(coarse, 1, "counted")):
        with pytest.raises(DataError, match=rf"cannot be counted on this slide: it was scanned at {mpp:g} um/px"):
            step()
    judged = ws.judge(coarse, tubules=1, pleomorphism=1)
    assert judged.grade is None and "cannot be counted" in judged.mitoses.why_no_score
    write_record(Record(judged, "A", "2026-01-01T00:00:00+00:00"), tmp_path / "r")
    document = json.loads((tmp_path / "r" / "worksheet.json").read_text())
    assert {f["mitoses"] for f in document["fields"]} == {None}
    assert document["mitoses"]["score"] is None and "cannot be counted" in document["mitoses"]["why_no_score"]
    with (tmp_path / "r" / "worksheet.csv").open() as stream:
        assert {row["mitoses"] for row in csv.DictReader(stream)} == {""}


@pytest.mark.parametrize("mpp", [0.2277, 0.25, 0.2738])
def test_what_scanners_call_40x_is_countable(mpp):
    assert sheet(Mpp(mpp, mpp, "tiff")).basis.why_not_countable is None


def test_a_click_marks_and_a_click_on_a_mark_takes_it_away():
    one = ws.mark(ws.mark(sheet(), 2, 2100, 50), 2, 2200, 50)
    assert one.of(2).marks == ((2100, 50), (2200, 50))
    # 12 pixels are 3 um; 20 are 5.
    assert ws.mark(one, 2, 2112, 50).of(2).marks == ((2200, 50),)
    assert len(ws.mark(one, 2, 2120, 50).of(2).marks) == 3
    with pytest.raises(DataError, match="outside field 2"):
        ws.mark(one, 2, 1990, 50)
    with pytest.raises(DataError, match="is refused"):
        ws.mark(ws.set_state(one, 2, "refused"), 2, 2100, 90)


def test_a_field_that_is_moved_is_open_again_and_keeps_the_marks_within_it():
    first = ws.mark(counted(10, 0, ws.mark(sheet(), 1, 5, 100)), 1, 1000, 1900)
    moved = ws.move(first, 1, 974, 2500)
    assert (moved.of(1).x, moved.of(1).y, moved.of(1).state, moved.of(1).came) == (0, 1526, "open", "moved")
    assert moved.of(1).marks == ((1000, 1900),) and moved.note == "1 mark is outside of it now and taken away"
    with pytest.raises(DataError, match="would lie on field 2"):
        ws.move(first, 1, 1100, 974)
    # It stays on the slide.
    assert (ws.move(first, 10, 99999, 99999).of(10).x, ws.move(first, 1, -9, 3000).of(1).x) == (40000 - 1947, 0)


def test_another_field_stands_in_for_a_refused_one():
    found = ws.put_instead(counted(10, 2), 1, (30000, 0, 1947, 1947), 0.2369)
    assert [f.state for f in found.fields] == ["refused", *["counted"] * 9, "open"]
    assert (found.of(11).came, found.mitoses.count) == ("replaced", 0)
    with pytest.raises(DataError, match="would lie on field 2"):
        ws.put_instead(found, 3, (2500, 500, 1947, 1947), 0.2369)
    # Its place is taken now.
    again = ws.put_instead(found, 2, (0, 0, 1947, 1947), 0.2369)
    with pytest.raises(DataError, match="would lie on field 12"):
        ws.set_state(again, 1, "counted")


def test_a_measurement_of_where_the_field_was_is_left():
    nuclei = Nuclei(9, 38.0, (20.0, 30.0, 40.0), 0.2)
    moved = ws.move(sheet(), 1, 974, 2500)
    assert ws.measured(moved, 1, (0, 0), nuclei).of(1).nuclei is None
    assert ws.measured(moved, 1, (0, 1526), nuclei).of(1).nuclei == nuclei


def test_what_is_saved_is_read_back(tmp_path):
    judged = ws.judge(ws.measured(counted(10, 9), 1, (0, 0), Nuclei(9, 38.0, (20.0, 30.0, 40.0), 0.2)), tubules=3)
    record = Record(judged, '=Dr. "A", é', "2026-01-01T00:00:00+00:00")
    write_record(record, tmp_path / "r")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r"]
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["mitoses.geojson", "worksheet.csv", "worksheet.json"]
    assert read_record(tmp_path / "r") == record == read_record(tmp_path / "r" / "worksheet.json")
    with (tmp_path / "r" / "worksheet.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 11 and rows[0]["mitoses"] == "9" and rows[0]["nuclei"] == "9"
    assert rows[0]["observer"].startswith("'="), "no formula of a spreadsheet"
    last = rows[-1]
    assert (last["field"], last["mitoses"], last["mitotic_score"], last["grade"]) == ("counted", "9", "2", "")
    with pytest.raises(OutputError, match="not empty"):
        write_record(record, tmp_path / "r")


def test_marks_are_points_of_qupath(tmp_path):
    write_record(Record(ws.mark(counted(1, 2), 2, 2100, 50), "A", "2026-01-01T00:00:00+00:00"), tmp_path / "r")
    document = json.loads((tmp_path / "r" / "mitoses.geojson").read_text())
    points = [f for f in document["features"] if f["geometry"]["type"] == "Point"]
    assert [p["geometry"]["coordinates"] for p in points] == [[100, 100], [140, 100]], "those of counted fields"
    assert {p["properties"]["classification"]["name"] for p in points} == {"Mitosis"}
    assert {f["properties"]["objectType"] for f in document["features"]} == {"annotation"}
    assert len({f["id"] for f in document["features"]}) == 3
    assert document["wsi_idc"]["slide_fingerprint"] == "abc" and document["wsi_idc"]["observer"] == "A"


def test_the_schema_is_one_and_describes_every_key():
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert all(value["description"] for value in schema["properties"].values())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d["mitoses"].update(count=3), "do not follow from its marks"),
        (lambda d: d.update(grade=1, sum=3), "do not follow from its marks"),
        (lambda d: d["fields"][0]["marks"].append([30000, 5]), "outside of it"),
        (lambda d: d["fields"][1].update(number=1), "two of its fields"),
        (lambda d: d["fields"][0].update(area_mm2=0.4), "not that of its pixels"),
        (lambda d: d.update(tubules=4), "tubules"),
        (lambda d: d.pop("slide"), "slide"),
    ],
)
def test_a_worksheet_that_was_changed_by_hand_is_refused(tmp_path, change, why):
    write_record(Record(counted(10, 2), "A", "2026-01-01T00:00:00+00:00"), tmp_path / "r")
    file = tmp_path / "r" / "worksheet.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match=why):
        read_record(file)


def test_kappa_by_hand():
    """Cohen 1960's form: observed agreement 0.7, by chance 0.5."""
    first, second = [1] * 5 + [2] * 5, [1] * 4 + [2] + [2] * 3 + [1] * 2
    assert kappa(first, second) == pytest.approx((0.7 - 0.5) / 0.5)
    # Weighted: cost 4 where they are two apart. Observed (0 + 4) / 2, by chance 4 * 1/4 * 2 / ... = 2.
    assert kappa([1, 3], [1, 3], weighted=True) == 1 and kappa([1, 3], [3, 1], weighted=True) == -1
    assert kappa([], []) is None and kappa([2, 2], [2, 2]) is None


def test_kappa_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    first, second = [1, 2, 3, 3, 2, 1, 1, 2], [1, 3, 3, 2, 2, 1, 2, 2]
    assert kappa(first, second) == pytest.approx(metrics.cohen_kappa_score(first, second))
    weighted = metrics.cohen_kappa_score(first, second, weights="quadratic")
    assert kappa(first, second, weighted=True) == pytest.approx(weighted)


def test_observers_are_compared_mark_by_mark(tmp_path):
    a = ws.judge(counted(10, 3), tubules=2, pleomorphism=2)
    # The first within 10 um of one of the others, the second not.
    b = ws.set_state(ws.mark(ws.mark(counted(9, 0), 1, 120, 120), 1, 900, 900), 10, "refused")
    for name, one, when in (("a", a, "2026-01-02"), ("b", b, "2026-01-01"), ("b", counted(1, 0), "2025-01-01")):
        write_record(Record(one, name, f"{when}T00:00:00+00:00"), tmp_path / f"{name}-{when}")
    (pair,) = compare_observers(find_records([tmp_path]))["pairs"]
    assert pair["observers"] == ["a", "b"]
    (slide,) = pair["slides"]
    assert len(slide["fields"]) == 9, "the later of b's, of which the tenth field is refused"
    assert slide["fields"][0] == {"field": 1, "x": 0, "y": 0, "mitoses": [3, 2], "same": 1}
    assert slide["marks_agreement"] == pytest.approx(2 / 5)
    assert slide["mitoses_per_mm2"] == [pytest.approx(3 / 2.36926, abs=1e-3), pytest.approx(2 / 2.13233, abs=1e-3)]
    assert slide["scores"] == {"tubules": [2, None], "pleomorphism": [2, None], "mitoses": [1, 1], "grade": [1, None]}
    assert pair["kappa"]["mitoses"] == {"slides": 1, "agreement": 1.0, "kappa": None, "weighted_kappa": None}


def test_observers_at_two_scales_are_not_compared(tmp_path):
    one = counted(2, 1)
    mpp = replace(one.basis.mpp, x=one.basis.mpp.x * 0.8, y=one.basis.mpp.y * 0.8)
    fields = tuple(replace(f, area_mm2=f.area_mm2 * 0.64) for f in one.fields)
    other = replace(one, basis=replace(one.basis, mpp=mpp), fields=fields)
    for name, sheet in (("a", one), ("b", other)):
        write_record(Record(sheet, name, "2026-01-01T00:00:00+00:00"), tmp_path / name)
    with pytest.raises(DataError, match=r"was judged by a at 0\.25 x 0\.25 and b at 0\.2 x 0\.2 um/px"):
        compare_observers(find_records([tmp_path]))


def test_one_observer_alone_is_compared_with_nobody(tmp_path):
    write_record(Record(counted(10, 3), "a", "2026-01-01T00:00:00+00:00"), tmp_path / "a")
    with pytest.raises(DataError, match="no slide was judged by two observers; found are a"):
        compare_observers(find_records([tmp_path]))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"no worksheet\.json"):
        find_records([tmp_path / "none"])


def test_an_area_of_one_whole_number_of_pixels_is_that_of_its_field():
    assert math.isclose(sheet().fields[0].area_mm2, (1947 * 0.25 / 1000) ** 2)
