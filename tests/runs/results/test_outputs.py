import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from wsi_idc.heatmap.store import read_heatmap
from wsi_idc.runs.batch import segment
from wsi_idc.runs.manifest import COLUMNS
from wsi_idc.runs.results.outputs import NAMES, faults, page, schema

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def run(painted, tmp_path_factory):
    return segment(painted, tmp_path_factory.mktemp("described"), model="idc-patch", bands=(0.3, 0.6)).folder


def test_a_real_run_is_as_described(run):
    assert faults(run) == []


def _unnamed(value, described, place="$"):
    """Keys of what was written that a schema does not name, where it has names for keys at all."""
    if isinstance(value, list):
        return [k for v in value for k in _unnamed(v, described.get("items", {}), f"{place}[]")]
    if not isinstance(value, dict) or "properties" not in described:
        return []
    known = described["properties"]
    return [f"{place}.{k}" for k in value if k not in known] + [
        k for name, v in value.items() if name in known for k in _unnamed(v, known[name], f"{place}.{name}")
    ]


def test_every_key_of_a_real_run_has_its_description(run):
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    _, facts = read_heatmap(run / "heatmap.zarr")
    assert _unnamed(summary, schema("summary")) == []
    assert _unnamed(facts, schema("heatmap")) == []


def test_a_slide_without_tissue_is_as_described(tmp_path):
    import numpy as np

    from wsi_idc.slides.write import write_slide

    blank = write_slide(tmp_path / "blank.tif", np.full((300, 400, 3), 240, np.uint8), 4.0)
    assert faults(segment(blank, tmp_path / "out").folder) == []


def test_what_is_not_as_described_is_named(run, tmp_path):
    folder = tmp_path / run.name
    shutil.copytree(run, folder)
    shutil.copy(run.parent / "manifest.csv", tmp_path)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    summary["foci"] = -1
    del summary["slide"]["mpp"]["x"]
    (folder / "summary.json").write_text(json.dumps(summary))
    assert sorted(faults(folder)) == [
        "summary: $.foci: -1 is less than the minimum of 0",
        "summary: $.slide.mpp: 'x' is a required property",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_schemas_and_describe_every_key(name):
    jsonschema.Draft202012Validator.check_schema(schema(name))
    assert all(value["description"] for value in schema(name)["properties"].values())


def test_the_manifest_has_the_columns_described():
    assert list(schema("manifest")["properties"]) == COLUMNS


def test_the_page_is_made_from_the_schemas():
    assert (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8") == page(), (
        "python -m wsi_idc.runs.results.outputs > docs/outputs.md"
    )
