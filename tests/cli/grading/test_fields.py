import csv
import json
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from PIL import Image

from wsi_idc.cli.grading.fields import fields
from wsi_idc.cli.group import main
from wsi_idc.errors import DataError, OutputError, SlideError
from wsi_idc.grading.fields import Wish
from wsi_idc.grading.report import write_fields
from wsi_idc.runs.results.summary import RESEARCH_USE
from wsi_idc.slides.slide import Slide
from wsi_idc.slides.write import write_slide

from helpers import HEAVY

WISH = Wish(number=4, area_mm2=0.05)


def segmented(slide, output):
    result = CliRunner().invoke(main, ["segment", str(slide), "-o", str(output), "--threshold", "0.02"])
    assert result.exit_code == 0, result.output
    (run,) = (p for p in output.iterdir() if p.is_dir())
    return run


@pytest.fixture(scope="module")
def run(painted, tmp_path_factory):
    return segmented(painted, tmp_path_factory.mktemp("segmented"))


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields") / "made"
    return folder, *write_fields(run, folder, WISH)


def copied(run, folder):
    shutil.copy(run.parent / "manifest.csv", folder)
    return shutil.copytree(run, folder / run.name)


def rows_of(folder):
    with (folder / "fields.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_of_an_incomplete_slide_there_are_fields_where_it_can_be_decoded(damaged, tmp_path):
    """Once one broken tile cost all fields of a slide."""
    done = CliRunner().invoke(main, ["segment", str(damaged), "-o", str(tmp_path / "out"), "--threshold", "0.02"])
    assert done.exit_code == 1, done.output
    folder, run = tmp_path / "fields", tmp_path / "out" / "damaged"
    told = CliRunner().invoke(main, ["fields", str(run), "-o", str(folder), "--number", "4", "--area", "0.05"])
    assert told.exit_code == 0, told.output
    assert "the run is incomplete" in told.stderr
    rows = rows_of(folder)
    assert len(rows) == 4 and {path.name for path in folder.glob("*.png")} >= {row["file"] for row in rows}


def test_a_crop_that_cannot_be_decoded_costs_its_field(run, tmp_path, monkeypatch):
    read, first = Slide.read, []

    def once(self, x, y, *rest):
        # Crops are read from where fields begin, after all else.
        if len(rest) == 3 and rest[0] == rest[1] == side and not first:
            first.append((x, y))
            raise SlideError("cannot be decoded")
        return read(self, x, y, *rest)

    whole, _ = write_fields(run, tmp_path / "whole", WISH)
    side = whole.fields[0].width
    monkeypatch.setattr(Slide, "read", once)
    chosen, notes = write_fields(run, tmp_path / "fields", WISH)
    assert chosen.fields == whole.fields[1:] and chosen.lost == 1
    assert "squares that would be candidates but cannot be decoded, and were left out: 1" in notes
    assert [row["rank"] for row in rows_of(tmp_path / "fields")] == ["1", "2", "3"]
    assert sorted(p.name for p in (tmp_path / "fields").glob("field-*.png")) == [f"field-0{n}.png" for n in (1, 2, 3)]


def test_leaves_these_files_and_nothing_beside(written):
    folder, chosen, _ = written
    assert len(chosen.fields) == 4
    crops = {f"field-{n:02}.png" for n in range(1, 5)}
    assert {p.name for p in folder.iterdir()} == {"fields.geojson", "fields.csv", "contact-sheet.png", *crops}
    assert [p.name for p in folder.parent.iterdir()] == ["made"]


def test_the_places_of_the_table_read_back_are_the_crops(written, painted):
    folder, chosen, notes = written
    with Slide(painted) as slide:
        for row, field in zip(rows_of(folder), chosen.fields, strict=True):
            x, y, width, height = (int(row[name]) for name in ("x", "y", "width", "height"))
            # The slide has 4 um/px, so that a pixel of a crop is one of level 0.
            pixels = slide.read(x, y, width, height, float(row["crop_mpp"]))
            assert np.array_equal(np.asarray(Image.open(folder / row["file"])), pixels)
            assert float(row["score"]) == field.score
            assert float(row["area_mm2"]) == pytest.approx(width * height * 16e-6)
    assert [row["rank"] for row in rows_of(folder)] == ["1", "2", "3", "4"]
    assert any("coarser than 40x" in note for note in notes)


@pytest.mark.parametrize(("mpp", "crop_um"), [(0.25, 0.25), (0.2277, 0.2277), (0.125, 0.25)])
def test_crops_are_at_40x(tmp_path, mpp, crop_um):
    """On a slide whose pixels tell where they are; its regions are made up."""
    from wsi_idc.grading import report as fields_report
    from wsi_idc.grading.fields import GradingField

    side = 400
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.indices((side, side)) // 2
    field = GradingField(40, 80, 200, 200, 0, 0, 0, 0, 0, 0, 0)
    with Slide(write_slide(tmp_path / "s.tif", pixels, mpp, downsamples=(1,), compression="deflate")) as slide:
        assert fields_report.crop_mpp(slide) == pytest.approx(crop_um)
        fields_report._write_crops(tmp_path, slide, [field])
    crop = np.asarray(Image.open(tmp_path / "field-01.png"))
    factor = 2 if mpp == 0.125 else 1
    assert crop.shape == (200 // factor, 200 // factor, 3)
    expected = pixels[80:280, 40:240].reshape(200 // factor, factor, 200 // factor, factor, 3).mean((1, 3))
    assert np.array_equal(crop, np.rint(expected))


def test_every_rule_of_qupath_holds(written):
    folder, chosen, _ = written
    document = json.loads((folder / "fields.geojson").read_text())
    features, said = document["features"], document["wsi_idc"]
    text = json.dumps(features)
    assert said["slide"] == "painted.tif" and said["slide_fingerprint"]
    assert said["fields"] == {"number": 4, "area_mm2": 0.05, "edge_um": 1000.0}
    names = ["Field 1", "Field 2", "Field 3", "Field 4", "Invasive edge"]
    assert [f["properties"]["name"] for f in features] == names
    assert len({f["id"] for f in features}) == len(names)
    assert "null" not in text
    assert "NaN" not in text
    for feature in features:
        assert set(feature) == {"type", "id", "geometry", "properties"}
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        properties = feature["properties"]
        assert properties["objectType"] == "annotation"
        assert properties["isLocked"] is True
        assert set(properties["classification"]) == {"name", "color"}
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        assert shapely.set_precision(shape, 0.01).equals(shape)
        polygons = feature["geometry"]["coordinates"]
        for polygon in [polygons] if shape.geom_type == "Polygon" else polygons:
            for ring in polygon:
                assert ring[0] == ring[-1]
                assert all(type(v) is int and 0 <= v < 2**24 for xy in ring for v in xy)
    first = features[0]["properties"]
    assert first["classification"]["name"] == "Field"
    assert first["measurements"]["Score"] == chosen.fields[0].score
    assert features[-1]["properties"]["classification"]["name"] == "Invasive edge"


def test_same_run_same_bytes(run, written, tmp_path):
    folder, _, _ = written
    write_fields(run, tmp_path / "again", WISH)
    for made in folder.iterdir():
        assert made.read_bytes() == (tmp_path / "again" / made.name).read_bytes(), made.name


def test_regions_corrected_in_qupath_count(run, tmp_path):
    copy = copied(run, tmp_path)
    regions = json.loads((copy / "regions.geojson").read_text())
    (feature,) = regions["features"][:1]
    # Only this is IDC, says the pathologist, and only just more than a field wide.
    feature["geometry"] = shapely.geometry.mapping(shapely.box(300, 200, 370, 270))
    (copy / "regions.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    chosen, _ = write_fields(copy, tmp_path / "out", Wish(area_mm2=0.04))
    for f in chosen.fields:
        overlap = shapely.box(f.x, f.y, f.x + f.width, f.y + f.height) & shapely.box(300, 200, 370, 270)
        assert f.tumour_share == pytest.approx(overlap.area / 2500, abs=0.02)
    assert 1 <= len(chosen.fields) <= 4


def test_command(run, tmp_path):
    copy = copied(run, tmp_path)
    result = CliRunner().invoke(fields, [str(copy), "-n", "2", "--area", "0.05", "--edge", "500"])
    assert result.exit_code == 0, result.output
    assert RESEARCH_USE in result.output
    assert "2 fields" in result.output
    assert "score: 0.4 tumour, 0.4 nuclei, 0.2 edge; invasive edge 500 um wide" in result.output
    assert (copy / "fields" / "contact-sheet.png").is_file()
    again = CliRunner().invoke(fields, [str(copy)])
    assert isinstance(again.exception, OutputError)
    assert "choose another -o" in str(again.exception)


def test_fewer_than_asked_is_said_and_no_error(run, tmp_path):
    result = CliRunner().invoke(fields, [str(run), "-n", "100", "-o", str(tmp_path / "f")])
    assert result.exit_code == 0, result.output
    made = rows_of(tmp_path / "f")
    assert len(made) < 100
    assert f"{len(made)} of 100 fields" in result.output


def test_without_idc_there_are_no_fields(run, tmp_path):
    copy = copied(run, tmp_path)
    (copy / "regions.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    result = CliRunner().invoke(fields, [str(copy), "-o", str(tmp_path / "f")])
    assert result.exit_code == 0, result.output
    assert "0 of 10 fields" in result.output
    assert "no invasive edge" in result.output
    assert rows_of(tmp_path / "f") == []
    assert {p.name for p in (tmp_path / "f").iterdir()} == {"fields.geojson", "fields.csv", "contact-sheet.png"}
    assert json.loads((tmp_path / "f/fields.geojson").read_text())["features"] == []


def test_the_slide_is_found_where_it_was_beside_the_run_or_as_told(run, painted, tmp_path):
    alone = shutil.copytree(run, tmp_path / "a" / run.name)
    with pytest.raises(SlideError, match="give its place with --slide"):
        write_fields(alone, tmp_path / "out", WISH)
    assert not (tmp_path / "out").exists()
    write_fields(alone, tmp_path / "told", WISH, painted)
    shutil.copy(painted, tmp_path / "a")
    write_fields(alone, tmp_path / "beside", WISH)
    assert (tmp_path / "told/fields.csv").read_bytes() == (tmp_path / "beside/fields.csv").read_bytes()


def test_another_slide_of_that_name_is_refused(run, painted, tmp_path):
    other = write_slide(tmp_path / painted.name, np.full((600, 750, 3), 200, np.uint8), 4.0)
    with pytest.raises(SlideError, match="is not the slide that"):
        write_fields(run, tmp_path / "out", WISH, other)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run_is_refused(run, tmp_path):
    for folder in (tmp_path, run.parent):
        with pytest.raises(DataError, match=r"holds no summary\.json of a run"):
            write_fields(folder, tmp_path / "out", WISH)


def test_the_command_imports_nothing_heavy_before_it_runs():
    code = "import sys, wsi_idc.cli.grading.fields; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    assert not {name.partition(".")[0] for name in done.stdout.split()} & HEAVY


@pytest.mark.realdata
def test_a_real_section_has_fields_with_nuclei(shared, tmp_path):
    slide = shared / "slides" / "CMU-1-Small-Region.svs"
    run = segmented(slide, tmp_path / "segmented")
    chosen, _ = write_fields(run, tmp_path / "fields", Wish(number=3, area_mm2=0.03))
    assert chosen.fields
    assert all(0.02 < f.nuclear_share < 0.6 for f in chosen.fields)
    row = rows_of(tmp_path / "fields")[0]
    with Slide(slide) as opened:
        pixels = opened.read(int(row["x"]), int(row["y"]), int(row["width"]), int(row["height"]), opened.mpp.x)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "fields" / row["file"])), pixels)


def test_the_report_of_the_run_shows_its_fields_and_those_only(run, tmp_path):
    copy = copied(run, tmp_path)
    report = copy / "report.html"
    before = report.read_text(encoding="utf-8")
    assert "Fields for grading" not in before
    for number in (3, 2):
        write_fields(copy, copy / "fields", Wish(number, 0.05))
        text = report.read_text(encoding="utf-8")
        assert text.count("Fields for grading") == 1
        assert text.count("<figcaption>Field ") == number
        shutil.rmtree(copy / "fields")
    assert re.sub(r"(<!-- fields -->).*(<!-- /fields -->)", r"\1\2", text, flags=re.DOTALL) == before
    written = report.read_bytes()
    write_fields(copy, tmp_path / "elsewhere", Wish(3, 0.05))
    assert report.read_bytes() == written
