"""Names of files are shown as they are: no codes of a terminal, no HTML, no formulas."""

import csv
import json
import re
import shutil

import pytest
from click.testing import CliRunner

from wsi_idc.cli.group import main
from wsi_idc.demo.painter import paint_section
from wsi_idc.slides.write import write_slide

NAMES = ["\x1b[31mred\x1b]0;title\x07.tif", "<img src=x onerror=alert(1)>.tif", "=cmd|1.tif", "\t@a.tif", "c\x9b2J.tif"]
CODES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    section = paint_section(1.0, 1.0, 4.0, seed=1)
    slide = write_slide(tmp_path_factory.mktemp("one") / "a.tif", section.pixels, 4.0, compression="deflate")
    for name in NAMES:
        shutil.copy(slide, folder / name)
    (folder / "\x1b[2J.svs").write_bytes(b"none")
    return folder


@pytest.fixture(scope="module")
def segmented(slides, tmp_path_factory):
    """The output of a run of all of them, and what it printed."""
    out = tmp_path_factory.mktemp("run") / "out"
    return out, run("segment", slides, "-o", out, "--model", "idc-patch", "--verbose")


def run(*arguments):
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.output


def test_nothing_that_is_printed_is_a_code(slides, segmented):
    out, said = segmented
    assert "5 of 6 slides done" in said
    assert r"\x1b[2J.svs" in said
    (out / NAMES[0].removesuffix(".tif") / "overview.png").write_bytes(b"")
    for text in (
        said,
        run("status", out),
        run("verify", out),
        run("info", slides),
        run("info", slides / NAMES[0]),
        run("info", slides / "\x1b[2J.svs"),
        run("segment", slides, "-o", out, "--dry-run", "--model", "idc-patch"),
        run("info", slides / "\x1b[2Jnone"),
        run("segment", slides, "-o", out, "--model", "\x1b[2J"),
    ):
        assert text
        assert CODES.findall(text) == [], text


def test_no_cell_is_a_formula(segmented):
    with (segmented[0] / "manifest.csv").open(newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t"))] == []
    assert "'=cmd|1" in cells


def test_no_name_is_html(segmented):
    out = segmented[0]
    pages = [out / "index.html", *out.glob("*/report.html")]
    assert len(pages) == 6
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "<img src=x" not in text
    rows = re.search(r'<script type="application/json" id="rows">(.*?)</script>', pages[0].read_text("utf-8"))[1]
    assert "<" not in rows
    assert NAMES[1] in {row["slide"].rpartition("/")[2] for row in json.loads(rows)}
