"""Comparing from files to files."""

import csv
import json

import numpy as np
import pytest
import shapely
from PIL import Image

import wsi_idc
from wsi_idc.annotations.annotation import Annotation
from wsi_idc.base.grid import Grid
from wsi_idc.comparison.pairs import find_pairs
from wsi_idc.comparison.report import compare_slides
from wsi_idc.errors import DataError, OutputError
from wsi_idc.runs.results.outputs import schema
from wsi_idc.runs.results.overview import Pictured, draw_overview

from helpers import box, least


def write_annotations(path, annotations):
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(a.geometry),
            "properties": {"objectType": "annotation", "measurements": dict(a.measurements)}
            | ({"classification": {"name": a.classification, "color": [1, 2, 3]}} if a.classification else {}),
        }
        for a in annotations
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def write_run(folder, annotations, size=(1000, 500), mpp=(2.0, 2.0), state="done"):
    regions = [Annotation(a.geometry, a.classification or "IDC", measurements=a.measurements) for a in annotations]
    write_annotations(folder / "regions.geojson", regions)
    summary = least(schema("summary")) | {"state": state}
    summary["slide"] |= {"width": size[0], "height": size[1]}
    summary["slide"]["mpp"] |= {"x": mpp[0], "y": mpp[1]}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_what_delineate_left_is_compared_alone_and_among_others(painted, tmp_path):
    """The folder was taken for one of many slides: "holds no slide of"."""
    run = wsi_idc.segment(painted, tmp_path / "out").folder
    wsi_idc.delineate(run, tmp_path / "lower" / run.name, threshold=0.1)
    for one, other in ((run, tmp_path / "lower" / run.name), (run.parent, tmp_path / "lower")):
        (pair,), alone = find_pairs(one, other)
        assert (pair.slide, pair.truth, alone) == (run.name, tmp_path / "lower" / run.name / "regions.geojson", [])
    (pair,), _ = find_pairs(tmp_path / "lower" / run.name, run)
    assert pair.slide == run.name
    assert compare_slides(run, tmp_path / "lower" / run.name)["slides"][0]["ppv"] == pytest.approx(1)


def test_a_run_gives_the_scale_and_its_roi_class_is_no_region(tmp_path):
    run = write_run(tmp_path / "p1_a", [box(0, 0, 100, 100, p=0.9), box(0, 0, 400, 400, name="IDC 0.1 to 0.5")])
    truth = write_annotations(
        tmp_path / "t.geojson",
        [box(0, 0, 100, 200, name="Tumor"), box(-10, -10, 200, 100, name="ROI"), box(9, 9, 20, 20, name="Fat")],
    )
    with pytest.raises(DataError, match=r"t\.geojson: holds the classes Fat, Tumor; say with --class"):
        compare_slides(run, truth)
    document = compare_slides(run, truth, tmp_path / "out", classes=["Tumor"])
    (slide,) = document["slides"]
    assert (slide["slide"], slide["patient"], slide["mpp"]) == ("p1_a", "p1", {"x": 2, "y": 2})
    assert slide["dice"] == 1
    assert slide["truth_mm2"] == pytest.approx(0.04)
    assert document["notes"] == ["one patient only: no intervals"]
    assert document["pooled"]["dice"] == {"value": 1, "ci95": [None, None]}
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == document
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["compare-p1_a.png", "compare.csv", "compare.json"]
    with pytest.raises(OutputError, match="is not empty"):
        compare_slides(run, truth, tmp_path / "out", classes=["Tumor"])
    assert compare_slides(run, truth, classes=["Tumor"], mpp=1.0)["slides"][0]["truth_mm2"] == pytest.approx(0.01)


def test_two_observers_count_where_both_have_looked(tmp_path):
    one = write_annotations(tmp_path / "one.geojson", [box(0, 0, 100, 100), box(0, 0, 200, 50, name="Region*")])
    other = write_annotations(tmp_path / "other.geojson", [box(0, 0, 50, 100), box(50, 0, 300, 300, name="ROI")])
    with pytest.raises(DataError, match="no run that gives the scale"):
        compare_slides(one, other)
    (slide,) = compare_slides(one, other, mpp=1.0)["slides"]
    assert slide["counted_mm2"] == pytest.approx(150 * 50 / 1e6)
    assert (slide["found_mm2"], slide["truth_mm2"]) == pytest.approx((0.0025, 0))
    apart = write_annotations(tmp_path / "apart.geojson", [box(500, 0, 600, 50, name="ROI")])
    with pytest.raises(DataError, match="share no area"):
        compare_slides(one, apart, mpp=1.0)


def test_two_runs_of_a_slide(tmp_path):
    one = write_run(tmp_path / "one", [box(0, 0, 100, 100, p=0.9)], mpp=(0.5, 0.5), state="incomplete")
    other = write_run(tmp_path / "other", [box(0, 0, 100, 100, p=0.2)], mpp=(0.25, 0.25))
    with pytest.raises(DataError, match="is of another scale than"):
        compare_slides(one, other)
    document = compare_slides(one, other, mpp=0.5)
    assert document["slides"][0]["truth_mm2"] == pytest.approx(0.0025)
    assert document["notes"][0] == f"{one}: some patches of this run could not be read"


def test_a_class_that_is_not_there_is_said(tmp_path):
    one = write_annotations(tmp_path / "one.geojson", [box(0, 0, 100, 100, name="Tumor")])
    other = write_annotations(tmp_path / "other.geojson", [box(0, 0, 100, 100, name="Benign")])
    document = compare_slides(one, other, mpp=1.0, classes=["Tumor"])
    assert f"{other}: no annotation of Tumor there, only of Benign; counted as empty" in document["notes"]
    assert document["pooled"]["dice"]["value"] == 0


def test_a_class_that_no_outline_has_is_an_error(tmp_path):
    """Both sides would be empty, which counts as agreement."""
    one = write_annotations(tmp_path / "one.geojson", [box(0, 0, 100, 100, name="Tumor")])
    said = "no outline of any slide is of the class tumour, only of Tumor; give the right --class"
    with pytest.raises(DataError, match=said):
        compare_slides(one, one, tmp_path / "out", mpp=1.0, classes=["tumour"])
    run = write_run(tmp_path / "run", [box(0, 0, 100, 100, p=0.9)])
    with pytest.raises(DataError, match=said):
        compare_slides(run, one, classes=["tumour"])
    assert not (tmp_path / "out").exists()
    empty = write_annotations(tmp_path / "empty.geojson", [])
    assert compare_slides(run, empty, classes=["tumour"])["pooled"]["dice"]["value"] == 0, "outlines of no class at all"


def test_folders_are_paired_by_name_and_nothing_is_left_out_silently(tmp_path):
    square = [box(0, 0, 100, 100)]
    for name in ("p1_a", "p1_b", "p2_a", "p3_a"):
        write_run(tmp_path / "runs" / name, square)
    truth = tmp_path / "truth"
    for name in ("p1_a.geojson", "p1_b.svs.geojson", "p2_a.json", "p4.geojson"):
        write_annotations(truth / name, square)
    (truth / "p3_a.xml").write_text("nonsense")
    (truth / "notes.txt").write_text("not annotations")
    document = compare_slides(tmp_path / "runs", truth, tmp_path / "out")
    assert [(s["slide"], s["patient"]) for s in document["slides"]] == [("p1_a", "p1"), ("p1_b", "p1"), ("p2_a", "p2")]
    assert document["left_out"] == [f"{truth / 'p4.geojson'}: left out, nothing of this name in {tmp_path / 'runs'}"]
    (failed,) = document["failed"]
    assert failed.startswith(f"{truth / 'p3_a.xml'}: ")
    assert "2 patients only: intervals from so few are too narrow" in document["notes"]
    with (tmp_path / "out" / "compare.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["slide"] for r in rows] == ["p1_a", "p1_b", "p2_a", "pooled"]
    assert [float(r["dice"]) for r in rows] == [1, 1, 1, 1]
    assert (rows[-1]["dice_low"], rows[-1]["dice_high"], rows[0]["dice_low"]) == ("1.0", "1.0", "")


def test_patients_from_a_table(tmp_path):
    for side in ("found", "truth"):
        for name in ("a", "b"):
            write_annotations(tmp_path / side / f"{name}.geojson", [box(0, 0, 100, 100)])
    table = tmp_path / "patients.csv"
    table.write_text("slide,patient\na.svs,P7\nb.zarr,P7\n")
    pairs, _ = find_pairs(tmp_path / "found", tmp_path / "truth", table)
    assert [(p.slide, p.patient) for p in pairs] == [("a", "P7"), ("b", "P7")]
    table.write_text("slide,patient\na,P7\n")
    with pytest.raises(DataError, match="no patient for b; add a line"):
        find_pairs(tmp_path / "found", tmp_path / "truth", table)
    table.write_text("slide,patient\na,P7\nb,P8\na.svs,P7\n")
    assert [p.patient for p in find_pairs(tmp_path / "found", tmp_path / "truth", table)[0]] == ["P7", "P8"]
    for rows, message in (
        ("name;who\na;P7\n", "columns slide and patient"),
        ("slide\na\n", "columns slide and patient"),
        (
            "slide,patient\na,P1\nb,P2\na.svs,P9\n",
            r"patients\.csv: line 4 gives a\.svs to patient P9, line 2 to P1; keep",
        ),
        ("slide,patient\r\na,P1\r\n\r\nb,\r\n", r"patients\.csv: line 4 names no patient; write one"),
        ("slide,patient\na\nb, \n", "line 2 names no patient"),
        ("slide,patient\n,P1\n", "line 2 names no slide"),
    ):
        table.write_text(rows, newline="")
        with pytest.raises(DataError, match=message):
            find_pairs(tmp_path / "found", tmp_path / "truth", table)


def test_slides_without_a_patient_in_their_names_are_not_of_one(tmp_path):
    for side in ("found", "truth"):
        for name in ("_1", "_2"):
            write_annotations(tmp_path / side / f"{name}.geojson", [box(0, 0, 100, 100)])
    assert [p.patient for p in find_pairs(tmp_path / "found", tmp_path / "truth")[0]] == ["_1", "_2"]


def test_folders_that_cannot_be_paired(tmp_path):
    write_annotations(tmp_path / "found" / "a.geojson", [])
    write_annotations(tmp_path / "truth" / "b.geojson", [])
    with pytest.raises(DataError, match="holds no slide of"):
        find_pairs(tmp_path / "found", tmp_path / "truth")
    write_annotations(tmp_path / "found" / "a.json", [])
    with pytest.raises(DataError, match=r"is of the same slide as a\.geojson"):
        find_pairs(tmp_path / "found", tmp_path / "truth")
    write_run(tmp_path / "run", [])
    (tmp_path / "run" / "summary.json").write_text('{"slide": {}}')
    with pytest.raises(DataError, match=r"holds no summary\.json of a run"):
        compare_slides(tmp_path / "run", tmp_path / "truth" / "b.geojson")


def colours_of(path):
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)


def test_the_picture_without_a_run(tmp_path):
    holed = Annotation(shapely.box(0, 0, 1000, 1000) - shapely.box(200, 200, 800, 800))
    found = write_annotations(tmp_path / "a.geojson", [holed, box(400, 400, 600, 600)])
    truth = write_annotations(tmp_path / "b.geojson", [box(0, 0, 500, 1000)])
    for name in ("one", "two"):
        compare_slides(found, truth, tmp_path / name, mpp=1.0)
    assert (tmp_path / "one" / "compare-a.png").read_bytes() == (tmp_path / "two" / "compare-a.png").read_bytes()
    image = np.asarray(Image.open(tmp_path / "one" / "compare-a.png"))
    # 1240 pixels are 1.1 mm; the panel lies at (24, 64) and begins 50 um before the outlines.
    at = {um: image[64 + round((um[1] + 50) * 1240 / 1100), 24 + round((um[0] + 50) * 1240 / 1100)] for um in _PLACES}
    for place, colour in _PLACES.items():
        expected = np.array(colour) * 0.4 + 255 * 0.6 if colour else [255] * 3
        assert np.abs(at[place] - expected).max() <= 2, place


BOTH, ONLY_FOUND, ONLY_TRUTH = (0, 68, 136), (221, 170, 51), (187, 85, 102)
_PLACES = {
    (100, 100): BOTH,
    (900, 100): ONLY_FOUND,
    (300, 500): ONLY_TRUTH,
    (450, 450): BOTH,
    (550, 450): ONLY_FOUND,
    (700, 500): None,
    (-20, -20): None,
}


def test_the_picture_of_a_run_lies_on_its_overview(tmp_path):
    size, mpp = (2000, 1000), (4.0, 4.0)
    thumbnail = np.full((500, 1000, 3), 255, np.uint8)
    thumbnail[100:200, 100:300] = 0
    heatmap = np.full((20, 40), 0.1)
    heatmap[10:15, 20:30] = 0.9
    grid = Grid(size, mpp, 50, 4.0)
    regions = [box(1000, 500, 1500, 750)]
    run = write_run(tmp_path / "run", regions, size, mpp)
    pictured = Pictured(
        "run", thumbnail, heatmap, np.zeros((20, 40), bool), np.ones((20, 40), bool), grid, [], [], 0.5, 0.5
    )
    draw_overview(run / "overview.png", pictured)
    truth = write_annotations(tmp_path / "t.geojson", [box(1000, 500, 1500, 750)])
    compare_slides(run, truth, tmp_path / "out")
    image = np.asarray(Image.open(tmp_path / "out" / "compare-run.png"))
    panel = image[64 : 64 + 620, 24 : 24 + 1240]
    dark = panel[:, :, 0] < 130
    rows, cols = np.nonzero(dark[:250])
    # The black part of the thumbnail, in twentieths of the height and fortieths of the width.
    assert (rows.min() / 620, (rows.max() + 1) / 620) == pytest.approx((0.2, 0.4), abs=0.01)
    assert (cols.min() / 1240, (cols.max() + 1) / 1240) == pytest.approx((0.1, 0.3), abs=0.01)
    assert np.abs(panel[390, 775] - (np.array(BOTH) * 0.4 + 255 * 0.6)).max() <= 2
    # A picture with another layout, of another version: on it areas would lie beside what they outline.
    Image.new("RGB", (1398, 1400)).save(run / "overview.png")
    compare_slides(run, truth, tmp_path / "other")
    corner = np.asarray(Image.open(tmp_path / "other" / "compare-run.png"))[70, 30]
    assert corner.tolist() == [255] * 3


@pytest.mark.parametrize(
    "features",
    [
        [{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 1]}, "properties": {}}],
        [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], ["a", 1], [1, 1]]]}}],
        [{"type": "Feature", "geometry": None, "properties": {"classification": ["Tumor"]}}],
    ],
)
def test_a_truth_of_which_nothing_can_be_read_is_an_error(tmp_path, features):
    run = write_run(tmp_path / "p1_a", [box(0, 0, 100, 100, p=0.9)])
    truth = tmp_path / "t.geojson"
    truth.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.raises(DataError, match=r"t\.geojson: "):
        compare_slides(run, truth)
    # One that says that there is nothing is a truth.
    (slide,) = compare_slides(run, write_annotations(tmp_path / "e.geojson", []))["slides"]
    assert slide["dice"] == 0


@pytest.mark.parametrize("side", ["run", "file"])
@pytest.mark.parametrize("name", ["Ignore*", "ignore*", "Immune cells*", "Ignore*: Blood"])
def test_what_ends_in_a_star_counts_for_neither_side(tmp_path, side, name):
    regions = [box(0, 0, 100, 100, p=0.9), box(300, 0, 400, 100, p=0.8)]
    found = write_run(tmp_path / "p1_a", regions)
    if side == "file":
        found = write_annotations(tmp_path / "f.geojson", [box(*a.geometry.bounds, name="IDC") for a in regions])
    # Half of the first region, of which all is true, and all of the second one, which is not.
    truth = [box(0, 0, 100, 100, name="IDC"), box(50, -50, 150, 150, name=name), box(290, -10, 410, 110, name=name)]
    document = compare_slides(found, write_annotations(tmp_path / "t.geojson", truth), mpp=2.0)
    (slide,) = document["slides"]
    assert (slide["dice"], slide["false_regions"], slide["foci"]) == (1, 0, 1)
    assert slide["truth_mm2"] == pytest.approx(50 * 100 * 4e-6)
    # Nobody drew the rim of what is ignored as a boundary.
    assert slide["hausdorff_um"] == 0
    assert slide["counted_mm2"] is None
    assert any("ends in * does not count" in note for note in document["notes"])


def test_a_class_that_ends_in_a_star_cannot_be_asked_for(tmp_path):
    run = write_run(tmp_path / "p1_a", [box(0, 0, 100, 100)])
    with pytest.raises(DataError, match=r"class 'Ignore\*': ends in \*"):
        compare_slides(run, write_annotations(tmp_path / "t.geojson", []), classes=["Ignore*"])


@pytest.mark.parametrize("name", ["roi", "Roi", "REGION*", "region*"])
def test_an_roi_is_found_in_any_case(tmp_path, name):
    run = write_run(tmp_path / "p1_a", [box(0, 0, 100, 100)])
    truth = [box(0, 0, 100, 200, name="IDC"), box(-10, -10, 200, 100, name=name)]
    (slide,) = compare_slides(run, write_annotations(tmp_path / "t.geojson", truth))["slides"]
    assert slide["dice"] == 1


def test_runs_of_two_slides_are_not_compared(tmp_path):
    runs = [write_run(tmp_path / name, [box(0, 0, 100, 100)]) for name in ("a", "b")]
    assert compare_slides(*runs)["slides"][0]["dice"] == 1
    for run, fingerprint in zip(runs, ("1" * 64, "2" * 64), strict=True):
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(
            json.dumps(summary | {"identity": summary["identity"] | {"slide_fingerprint": fingerprint}})
        )
    with pytest.raises(DataError, match="is of another slide"):
        compare_slides(*runs)


def test_outlines_of_another_slide_are_an_error(tmp_path):
    """Compared with what lies beside the slide, a run was said to be wrong all over: Dice 0, exit status 0."""
    run = write_run(tmp_path / "p1_a", [box(0, 0, 100, 100)])
    truth = write_annotations(tmp_path / "t.geojson", [box(5000, 0, 5100, 100, name="IDC")])
    with pytest.raises(DataError, match=r"t\.geojson: most of what it outlines lies outside of the slide"):
        compare_slides(run, truth)
