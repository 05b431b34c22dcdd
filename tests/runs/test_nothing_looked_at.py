"""A slide of which no patch was computed is not one without cancer: no file and no line says 0 mm2 of IDC."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from wsi_idc.cli.group import main
from wsi_idc.cli.schema import printed
from wsi_idc.runs.results.outputs import faults
from wsi_idc.slides.write import write_slide

OF_REGIONS = ("idc_mm2", "idc_share", "foci", "slivers", "slivers_mm2", "largest_extent_mm", "nearest_foci_mm")
UNKNOWN = "whether it has IDC is not known"
REASONS = {"glass": "no tissue found", "small": "no patch holds enough of its 0.03 mm2 of tissue (see --min-tissue)"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def as_json(name: str, *arguments: object) -> dict:
    facts = json.loads(run(*arguments, "--json").stdout)
    jsonschema.validate(facts, json.loads(printed(name).read_text(encoding="utf-8")))
    return facts


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bare glass, and tissue that fills half a patch."""
    folder = tmp_path_factory.mktemp("slides")
    glass = np.random.default_rng(0).integers(240, 246, (600, 800, 3), dtype=np.uint8)
    write_slide(folder / "glass.tif", glass, 4.0, downsamples=(1,), compression="deflate")
    pixels = np.full((600, 600, 3), 242, np.uint8)
    pixels[205:245, 205:245] = (200, 120, 170)
    write_slide(folder / "small.tif", pixels, 4.0)
    return folder


@pytest.fixture(scope="module")
def done(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    output = tmp_path_factory.mktemp("nothing")
    return output, run("segment", slides, "-o", output, "--min-tissue", 0.9)


@pytest.mark.parametrize("name", ["glass", "small"])
def test_its_numbers_are_unknown_and_not_0(done: tuple[Path, Result], name: str) -> None:
    folder = done[0] / name
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["state"], summary["patches"]) == ("done", 0)
    assert [summary[key] for key in OF_REGIONS] == [None] * len(OF_REGIONS)
    assert summary["message"] == f"nothing was looked at, {REASONS[name]}: {UNKNOWN}"
    assert faults(folder) == []
    assert json.loads((folder / "regions.geojson").read_text())["features"] == []
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"Nothing was looked at, {REASONS[name]}: {UNKNOWN}." in page and "0.00 mm², " not in page
    with (done[0] / "manifest.csv").open(newline="") as stream:
        row = next(row for row in csv.DictReader(stream) if row["output"] == name)
    assert (row["state"], row["patches"], row["reason"]) == ("done", "0", summary["message"])
    assert {row[key] for key in ("idc_mm2", "idc_share", "foci", "largest_extent_mm")} == {""}


def test_every_line_says_so(done: tuple[Path, Result], slides: Path) -> None:
    output, ended = done
    assert ended.exit_code == 0, "nothing went wrong, but nothing is known either"
    assert "IDC 0.00" not in ended.output
    assert f"glass.tif: nothing was looked at, no tissue found: {UNKNOWN} -> {output / 'glass'}\n" in ended.stdout
    assert "2 of 2 slides done, nothing was looked at on 2 of them; " in ended.stdout
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "2 of 2 slides done; nothing was looked at on 2." in page
    table = run("status", output).stdout
    assert "nothing looked at" in table and f"small.tif: nothing was looked at, {REASONS['small']}" in table
    assert [s["slide"] for s in as_json("status", "status", output)["not_looked_at"]] == [
        str((slides / name).resolve()) for name in ("glass.tif", "small.tif")
    ]
    facts = as_json("segment", "segment", slides, "-o", output, "--min-tissue", 0.9)
    assert {(s["idc_mm2"], s["foci"], s["reused"]) for s in facts["slides"]} == {(None, None, True)}


def test_what_is_made_of_it_says_so(done: tuple[Path, Result], slides: Path, tmp_path: Path) -> None:
    """Compared with outlines it found nothing, and no field of it is worth grading: for want of looking."""
    (tmp_path / "truth.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    said = f"nothing was looked at, {REASONS['small']}: {UNKNOWN}"
    assert f"{done[0] / 'small'}: {said}" in run("compare", done[0] / "small", tmp_path / "truth.geojson").stderr
    assert said in run("fields", done[0] / "small", "--slide", slides / "small.tif", "-o", tmp_path / "fields").stderr


def test_delineate_knows_no_more(done: tuple[Path, Result], tmp_path: Path) -> None:
    said = run("delineate", done[0] / "small", "-o", tmp_path / "again").stdout
    assert f"nothing was looked at, {REASONS['small']}" in said and "IDC 0.00" not in said
    facts = as_json("delineate", "delineate", done[0] / "small", "-o", tmp_path / "more")
    assert [facts[key] for key in OF_REGIONS] == [None] * len(OF_REGIONS)
