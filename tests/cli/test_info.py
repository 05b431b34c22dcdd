"""`wsi-idc info`, and the scans of a file that it lists."""

import json
import re

import pytest
from click.testing import CliRunner

from wsi_idc.cli.group import main


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_info_as_table_and_json(painted):
    table, facts = run("info", painted), json.loads(run("info", painted, "--json").stdout)
    assert table.exit_code == 0
    assert "4 x 4 um/px, from TIFF resolution tags" in table.stdout
    assert facts["mpp"] == {
        "x": pytest.approx(4),
        "y": pytest.approx(4),
        "source": "TIFF resolution tags",
        "estimated": False,
    }
    assert (facts["width"], facts["height"], len(facts["levels"])) == (750, 600, 2)


def test_info_of_a_slide_without_scale_prints_the_rest(tmp_path, section):
    import tifffile

    tifffile.imwrite(tmp_path / "bare.tif", section.pixels, photometric="rgb", metadata=None)
    done = run("info", tmp_path / "bare.tif", "--json")
    assert done.exit_code == 1
    facts = json.loads(done.stdout)
    assert (facts["width"], facts["mpp"], facts["levels"][0]["mpp"]) == (750, None, None)
    assert "scale" in facts["scale_problem"]
    assert facts["scale_problem"] in done.stderr
    assert "scale       not known" in run("info", tmp_path / "bare.tif").stdout
    assert run("info", tmp_path / "bare.tif", "--mpp", "4").exit_code == 0


def test_info_of_no_slide(tmp_path):
    (tmp_path / "x.svs").write_text("no")
    done = run("info", tmp_path / "x.svs")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'x.svs'}: not a slide")


@pytest.fixture
def two_scans(tmp_path, section):
    """A file of two scans and a label, the label first."""
    import tifffile

    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(section.pixels[:60, :90], photometric="rgb", description="Label", metadata=None)
        for pixels in (section.pixels, section.pixels[:400]):
            options = {"resolution": (2500, 2500), "resolutionunit": 3, "metadata": None}
            tiff.write(pixels, photometric="rgb", tile=(128, 128), compression="deflate", **options)
    return path


def test_info_lists_the_images_of_a_file(two_scans):
    done = run("info", two_scans)
    assert done.exit_code == 0
    assert re.search(r"^image +width +height +um/px +what", done.stdout, re.MULTILINE)
    for line in (r"^0 +90 +60 .* label", r"^1 +750 +600 +4 +slide", r"^2 +750 +400 +4 +scan", r"^warning: .*--series"):
        assert re.search(line, done.stdout, re.MULTILINE), line
    assert "750 x 400 px" in run("info", two_scans, "--series", "2").stdout


def test_info_of_a_folder_prints_the_rule(two_scans):
    done = run("info", two_scans.parent)
    assert done.exit_code == 0
    assert str(two_scans) in done.stdout and "1 found; slides are files that end in" in done.stdout


def test_segment_takes_each_scan_of_a_file(two_scans, tmp_path):
    done = run("segment", two_scans, "--series", "all", "--dry-run", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "2 slides to do" in done.stdout
    assert run("segment", two_scans, "--series", "first").exit_code == 2
