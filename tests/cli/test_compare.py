import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsi_idc.cli.compare import compare

from comparison.test_pairs import write_annotations, write_run
from helpers import HEAVY, box


def run(*arguments):
    return CliRunner().invoke(compare, [str(a) for a in arguments], standalone_mode=True)


@pytest.fixture
def sides(tmp_path):
    found = write_run(tmp_path / "runs" / "p1_a", [box(0, 0, 100, 100, p=0.9, name="IDC")])
    return found, write_annotations(tmp_path / "truth" / "p1_a.geojson", [box(50, 0, 150, 100, name="Tumor")])


def test_prints_tables_and_writes_files(sides, tmp_path):
    done = run(*sides, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    head, row, empty, pooled, first, *_, last = done.stdout.splitlines()
    assert dict(zip(head.split(), row.split(), strict=True)) == {
        "slide": "p1_a",
        "dice": "0.5000",
        "iou": "0.3333",
        "sensitivity": "0.5000",
        "ppv": "0.5000",
        "hausdorff_um": "100.0",
        "p95_um": "100.0",
        "area_error_mm2": "0.0000",
        "foci": "1",
        "foci_found": "1",
    }
    assert empty == ""
    assert pooled.split() == ["pooled", "value", "95", "%", "interval"]
    assert first.split() == ["dice", "0.5000", "-"]
    assert last == str(tmp_path / "out" / "compare.json")
    assert done.stderr == "one patient only: no intervals\n"
    assert (tmp_path / "out" / "compare-p1_a.png").is_file()


def test_json_is_the_document(sides, tmp_path):
    done = run(*sides, "--json", "-o", tmp_path / "out")
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "compare.json").read_text())


def test_folders_and_exit_status(sides, tmp_path):
    write_run(tmp_path / "runs" / "p2_a", [])
    (tmp_path / "truth" / "p2_a.geojson").write_text("nonsense")
    done = run(tmp_path / "runs", tmp_path / "truth")
    assert done.exit_code == 1
    assert f"error: {tmp_path / 'truth' / 'p2_a.geojson'}: " in done.stderr
    assert "p1_a" in done.stdout


def test_class_and_roi_class(sides, tmp_path):
    found, _ = sides
    truth = write_annotations(
        tmp_path / "t.geojson",
        [box(0, 0, 100, 900, name="Tumor"), box(0, 0, 5, 5, name="Fat"), box(0, 0, 300, 100, name="Looked at")],
    )
    done = run(found, truth, "--class", "Tumor", "--roi-class", "Looked at", "--json")
    (slide,) = json.loads(done.stdout)["slides"]
    assert slide["dice"] == 1
    assert slide["counted_mm2"] == pytest.approx(0.12)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from wsi_idc.cli.compare import compare\n"
        "try: compare(['--help'])\n"
        f"except SystemExit: sys.exit(repr(sorted({HEAVY!r} & set(sys.modules))))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert "TRUTH" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.realdata
def test_real_outlines_agree_with_themselves(shared):
    asap = shared / "annotations" / "asap_tumor_039.xml"
    done = run(asap, asap, "--mpp", 0.243, "--json")
    assert done.exit_code == 0, done.output
    (slide,) = json.loads(done.stdout)["slides"]
    assert slide["dice"] == slide["iou"] == 1
    assert slide["hausdorff_um"] == slide["mean_um"] == 0
    assert slide["foci"] == slide["foci_found"] > 0
    assert slide["false_regions"] == 0


@pytest.mark.realdata
def test_real_outlines_of_one_slide_from_two_programs_agree(shared):
    qupath, imagescope = (
        shared / "annotations" / f for f in ("qupath_TCGA-EJ-5519.json", "imagescope_TCGA-EJ-5519.xml")
    )
    done = run(qupath, imagescope, "--mpp", 0.25, "--class", "Tumor", "--class", "CaP", "--json")
    (slide,) = json.loads(done.stdout)["slides"]
    assert slide["dice"] > 0.99999
    assert slide["mean_um"] < 0.25
    assert abs(slide["area_error_mm2"]) < 1e-3
