from __future__ import annotations

import csv
import html
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from wsi_idc.cli.group import main
from wsi_idc.demo.painter import PaintedSection
from wsi_idc.runs.results.warnings import look_for_warnings
from wsi_idc.slides.write import write_slide
from wsi_idc.tissue.stain import SWAPPED

from helpers import UNLIKE


@pytest.fixture(scope="module")
def wrong(section: PaintedSection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide whose red and blue are swapped."""
    path = tmp_path_factory.mktemp("wrong") / "wrong.tif"
    return write_slide(path, np.ascontiguousarray(section.pixels[..., ::-1]), 4.0, downsamples=(1,))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_a_warning_is_said_wherever_results_are(wrong: Path, tmp_path: Path) -> None:
    done = run("segment", wrong, "-o", tmp_path)
    assert done.exit_code == 0 and SWAPPED in done.stderr
    summary = json.loads((tmp_path / "wrong" / "summary.json").read_text())
    # By its features such a slide is unlike those of training as well.
    assert summary["warnings"] == [SWAPPED, UNLIKE] and summary["parameters"]["icc"] == "ignore"
    said = f"{SWAPPED[0].upper()}{SWAPPED[1:]}."
    assert html.escape(said).replace("&#x27;", "&#39;") in (tmp_path / "wrong" / "report.html").read_text(
        encoding="utf-8"
    )
    with (tmp_path / "manifest.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    said = f"{SWAPPED}; {UNLIKE}"
    assert row["warnings"] == said and list(row)[-1] == "warnings"
    assert f"warning: {wrong.resolve()}: {SWAPPED}" in run("status", tmp_path).stdout
    assert json.loads(run("status", tmp_path, "--json").stdout)["warned"][0]["warnings"] == said


def test_info_looks_at_the_stain(wrong: Path) -> None:
    assert f"warning: {SWAPPED}" in run("info", wrong).stdout
    assert json.loads(run("info", wrong, "--json").stdout)["warnings"] == [SWAPPED]


def test_a_slide_without_fault_has_no_warnings(painted: Path) -> None:
    assert look_for_warnings(painted) == []
    assert look_for_warnings(painted, mpp=30.0) == []
    (found,) = look_for_warnings(painted, mpp=2.0)
    assert "--mpp 2 was used" in found


def test_what_cannot_be_decoded_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "x.svs").write_bytes(b"no slide")
    (found,) = look_for_warnings(tmp_path / "x.svs")
    assert "not a slide" in found
