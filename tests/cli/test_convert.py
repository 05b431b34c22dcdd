import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import zarr
from click.testing import CliRunner
from shapely import Polygon, box

from wsi_idc.annotations.annotation import Annotation
from wsi_idc.annotations.read import read_annotations
from wsi_idc.annotations.write import write_annotations
from wsi_idc.base.grid import Grid
from wsi_idc.cli.convert import convert
from wsi_idc.errors import DataError, OutputError
from wsi_idc.heatmap.store import write_heatmap

from helpers import HEAVY, provenance

HOLED = Polygon([(0, 0), (100, 0), (100, 100), (0, 100)], [[(20, 20), (20, 40), (40, 40), (40, 20)]])


@pytest.fixture
def drawn(tmp_path):
    path = tmp_path / "drawn.geojson"
    write_annotations(path, [Annotation(HOLED, "Tumor", "a"), Annotation(HOLED, "Other"), Annotation(HOLED)])
    return path


@pytest.fixture
def run(tmp_path):
    """What `convert` needs of the folder of a run."""
    folder = tmp_path / "run"
    folder.mkdir()
    grid = Grid((800, 400), (0.5, 0.5), 50, 4.0)
    values = np.array([[0.9, np.nan]], np.float32)
    write_heatmap(folder / "heatmap.zarr", values, grid, {}, grid, provenance(grid))
    write_annotations(
        folder / "regions.geojson", [Annotation(Polygon([(0, 0), (400, 0), (400, 400), (0, 400)]), "IDC")]
    )
    return folder


def converted(*arguments):
    return CliRunner().invoke(convert, [str(a) for a in arguments])


def test_each_format_to_each_other(tmp_path, drawn):
    names = ["a.xml", "b.xml", "c.geojson.gz", "d.geojson"]
    source = drawn
    for name in names:
        result = converted(source, tmp_path / name, *(["--to", "imagescope"] if name == "b.xml" else []))
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("3 annotations (")
        source = tmp_path / name
    back = read_annotations(tmp_path / "d.geojson").annotations
    assert [a.classification for a in back[:2]] == ["Tumor", "Other"]
    assert all(a.geometry.equals(HOLED) for a in back)


def test_classes_and_notes(tmp_path, drawn):
    result = converted(drawn, tmp_path / "a.geojson", "--class", "Tumor=IDC", "--class", "Other=", "--class", "x=y")
    assert result.stdout == f"2 annotations (IDC 1, without a class 1) -> {tmp_path / 'a.geojson'}\n"
    assert result.stderr.splitlines() == [
        f"{drawn}: no object has the class 'x' that was to be renamed",
        f"{drawn}: object 2: its class 'Other' was to be left out",
    ]


def test_a_run_gives_its_regions_with_their_scale(tmp_path, run):
    import geopandas

    assert converted(run, tmp_path / "a.gpkg").exit_code == 0
    assert converted(run / "regions.geojson", tmp_path / "b.gpkg").exit_code == 0
    for name in ("a.gpkg", "b.gpkg"):
        # 400 px of 0.5 um a side.
        assert geopandas.read_file(tmp_path / name)["area_mm2"].tolist() == [pytest.approx(0.04)]


def test_tiles_and_labels_of_a_run(tmp_path, run):
    for source in (run, run / "heatmap.zarr"):
        result = converted(source, tmp_path / "tiles.geojson", "--as", "tiles", "--overwrite")
        assert result.stdout == f"1 tile -> {tmp_path / 'tiles.geojson'}\n"
        (tile,) = json.loads((tmp_path / "tiles.geojson").read_text())["features"]
        assert tile["properties"]["classification"]["name"] == "IDC"
    result = converted(run, tmp_path / "labels.zarr", "--like", run / "heatmap.zarr")
    assert result.exit_code == 0
    assert zarr.open_group(tmp_path / "labels.zarr", mode="r")["labels/IDC/0"][:].tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("target", "options", "reason"),
    [
        ("a.geojson", ["--to", "asap"], "ends in .xml"),
        ("a.geojson", ["--like", "."], "needs --like RUN, and only it"),
        ("a.zarr", [], "needs --like RUN"),
        ("a.geojson", ["--class", "Tumor"], "'Tumor' is not OLD=NEW"),
        ("a.geojson", ["--class", "=IDC"], "'=IDC' is not OLD=NEW"),
        ("a.geojson", ["--as", "tiles", "--class", "a=b"], "leave out --class"),
        ("a.shp", [], "no format for this suffix; give .geojson"),
        ("a.json5", ["--as", "tiles"], "tiles are written as GeoJSON"),
        ("a.geojson", ["--as", "spatialdata"], "ends in .zarr"),
        ("a.zarr", ["--as", "spatialdata", "--class", "a=b"], "leave out --class"),
    ],
)
def test_wrong_usage_is_status_2(tmp_path, drawn, target, options, reason):
    result = converted(drawn, tmp_path / target, *options)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not (tmp_path / target).exists()


@pytest.mark.parametrize("target", ["out.geojson", "out.xml"])
def test_half_a_surrogate_in_a_name_can_be_written_again(tmp_path, target):
    """It ended in a traceback, as text that is no UTF-8."""
    shape = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}
    found = {"classification": {"name": "ID\ud800C"}, "name": "\udc00", "measurements": {"\ud800": 1}}
    feature = {"type": "Feature", "geometry": shape, "properties": {"objectType": "annotation"} | found}
    (tmp_path / "in.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    converted(tmp_path / "in.geojson", tmp_path / target)
    assert [a.classification for a in read_annotations(tmp_path / target).annotations] == ["ID\ufffdC"]


def test_files_that_are_no_annotations(tmp_path, drawn):
    bad = tmp_path / "bad.xml"
    bad.write_text("nothing")
    for source, target, options in ((bad, "a.geojson", []), (drawn, "a.json", ["--as", "tiles"])):
        assert isinstance(converted(source, tmp_path / target, *options).exception, DataError)


def test_without_geopandas_the_way_to_it_is_told(tmp_path, drawn, monkeypatch):
    monkeypatch.setitem(sys.modules, "geopandas", None)
    result = converted(drawn, tmp_path / "a.gpkg")
    assert result.exit_code == 1
    assert str(result.exception).endswith('pip install ".[tables]"')


def test_the_command_imports_nothing_heavy():
    code = "import sys, wsi_idc.cli.convert; print(*{m.partition('.')[0] for m in sys.modules})"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    assert not (HEAVY | {"geopandas"}) & set(out.stdout.split())


@pytest.mark.realdata
def test_a_dicom_segmentation(tmp_path, shared):
    slide = shared / "slides" / "dicom" / "cmu-1-small-region"
    drawn = Annotation(box(400, 400, 900, 800), "IDC")
    write_annotations(tmp_path / "in.geojson", [drawn, Annotation(box(0, 0, 50, 50), "Other")])
    arguments = [str(tmp_path / "in.geojson"), str(tmp_path / "out.dcm")]
    done = CliRunner().invoke(convert, [*arguments, "--slide", str(slide)])
    assert done.exit_code == 0, done.output
    assert "1 annotations of other classes are not in the segmentation" in done.output
    pixels = pydicom.dcmread(tmp_path / "out.dcm")
    assert pixels.SegmentSequence[0].SegmentLabel == "IDC"
    refused = CliRunner().invoke(convert, arguments)
    assert refused.exit_code == 2 and "--slide" in refused.output


@pytest.mark.parametrize("name", ["x.geojson", "x.xml", "x.geojson.gz", "x.gpkg", "x.parquet", "x.dcm", "x.zarr"])
def test_what_is_there_is_not_lost_unasked(tmp_path, drawn, run, name):
    target = tmp_path / name
    target.write_text("work of an afternoon")
    more = {".zarr": ["--like", run], ".dcm": ["--slide", drawn]}.get(target.suffix, [])
    done = converted(drawn, target, *more)
    assert isinstance(done.exception, OutputError)
    assert str(done.exception) == f"{target}: is there already; choose another name or give --overwrite"
    assert target.read_text() == "work of an afternoon"


def test_it_is_overwritten_where_that_is_said(tmp_path, drawn, run):
    for source, more in ((drawn, []), (run, ["--as", "tiles"])):
        target = tmp_path / f"{source.name}.json"
        target.write_text("old")
        assert isinstance(converted(source, target, *more).exception, OutputError)
        assert converted(source, target, *more, "--overwrite").exit_code == 0
        assert json.loads(target.read_text())["features"]


def test_what_a_run_left_is_never_overwritten(tmp_path, drawn, run):
    (run / "summary.json").write_text("{}")
    before = (run / "regions.geojson").read_bytes()
    done = converted(drawn, run / "regions.geojson", "--overwrite")
    assert str(done.exception) == f"{run / 'regions.geojson'}: is what a run left; choose another name"
    assert (run / "regions.geojson").read_bytes() == before
    done = converted(drawn, run / "heatmap.zarr", "--like", run, "--overwrite")
    assert "is a folder, and only files are overwritten" in str(done.exception)
