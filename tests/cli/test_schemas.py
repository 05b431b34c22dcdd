"""What commands print with --json, and log.jsonl, are as their published schemas say; no command lacks one."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path

import click
import jsonschema
import pytest
from click.testing import CliRunner
from PIL import Image

from wsi_idc.cli.group import main
from wsi_idc.cli.schema import PRINTED, printed
from wsi_idc.grading.record import Record, write_record
from wsi_idc.grading.worksheet import Basis, SheetField, Worksheet
from wsi_idc.slides.scale import Mpp

from helpers import write_patches


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def commands(group, path=()):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield "-".join((*path, name)), command


def test_the_table_for_scripts_has_every_command_that_prints_json():
    table = (Path(__file__).parents[2] / "docs" / "for-scripts.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("| ") and "--json" in line]
    listed = {" ".join(words.split()) for row in rows for words in re.findall(r"`wsi-idc ([a-z -]+)", row)}
    assert {name for name in _with_json() if name.replace("-", " ") not in listed} == set()


def _with_json():
    return {name for name, command in commands(main) if any(p.name == "as_json" for p in command.params)}


@pytest.fixture(scope="module")
def place(painted, section, tmp_path_factory):
    """A slide with its run, one that fails, images, patches, and outlines."""
    place = tmp_path_factory.mktemp("printed")
    shutil.copy(painted, place / "a.tif")
    (place / "bad.svs").write_bytes(b"no slide")
    Image.fromarray(section.pixels[200:250, 300:350]).save(place / "patch.png")
    write_patches(place / "patches", ["8865", "8913", "8867", "8914", "8917"], 50)
    (place / "segment.json").write_text(
        run("segment", place / "a.tif", place / "bad.svs", "-o", place / "out", "--json").stdout
    )
    shutil.copy(place / "out" / "a" / "regions.geojson", place / "truth.geojson")
    basis = Basis("a.tif", "a", (4000, 4000), Mpp(0.25, 0.25, "tiff"), "idc-context", "0" * 64)
    field = SheetField(1, 0, 0, 2000, 2000, 0.25, "counted", marks=((5, 5),))
    for name in ("ada", "bob"):
        record = Record(Worksheet(basis, (field,)), name, "2026-01-01T00:00:00+00:00")
        write_record(record, place / "worksheets" / name)
    return place


CASES = {
    "compare": "compare {out}/a {place}/truth.geojson --json",
    "data-audit": "data audit {place}/patches --json",
    "data-cache": "data cache --json",
    "delineate": "delineate {out}/a/heatmap.zarr -o {new} --bands 0.3,0.6 --json",
    "doctor": "doctor {place} --json",
    "dry-run": "segment {place}/a.tif {place}/bad.svs -o {out} --dry-run --json",
    "evaluate": "evaluate {place}/patches --model idc-patch --split all -o {new} --json",
    "explain": "explain {place}/patch.png --model idc-patch -o {new} --json",
    "fields": "fields {out}/a -n 2 -o {new} --json",
    "info": "info {place}/a.tif --json",
    "info-folder": "info {place} --json",
    "models-list": "models list --json",
    "models-show": "models show idc-context --json",
    "observers": "observers {place}/worksheets --json",
    "predict": "predict {place}/patch.png --model idc-patch --json",
    "status": "status {out} --clean --json",
    "verify": "verify {out} --json",
}


def check(name, document):
    schema = json.loads(printed(name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    faults = jsonschema.Draft202012Validator(schema).iter_errors(document)
    assert [f"{fault.json_path}: {fault.message}" for fault in faults] == []
    inner = schema.get("items", schema)
    for one in document if isinstance(document, list) else [document]:
        assert set(one) <= set(inner["properties"]), "a key that no schema describes"
    assert all(said.get("description") for said in inner["properties"].values())


@pytest.mark.parametrize("name", CASES)
def test_what_is_printed_is_as_its_schema_says(name, place, tmp_path, monkeypatch):
    if name == "evaluate":
        from wsi_idc.evaluation.evaluate import measure

        monkeypatch.setattr("wsi_idc.evaluation.evaluate.measure", partial(measure, resamples=5))
    typed = CASES[name].format(place=place, out=place / "out", new=tmp_path / "new").split()
    done = run(*typed)
    assert done.exit_code in (0, 1), done.output
    check(name, json.loads(done.stdout))


def test_segment_and_its_log(place):
    check("segment", json.loads((place / "segment.json").read_text()))
    lines = (place / "out" / "log.jsonl").read_text().splitlines()
    assert len(lines) >= 5
    for line in lines:
        check("log", json.loads(line))


def test_every_command_that_prints_json_has_a_schema_that_can_be_asked_for():
    printing = {name for name, c in commands(main) if any("--json" in p.opts for p in c.params)}
    assert printing | {"dry-run", "info-folder", "log"} == set(PRINTED) == {*CASES, "segment", "log"}
    for name in PRINTED:
        assert run("schema", name).stdout == printed(name).read_text(encoding="utf-8")
    assert run("schema", "nothing").exit_code == 2
