"""Contact sheets of an evaluation show the most certain patches of each kind, and none that is not the one measured."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image
from pyarrow import parquet

import wsi_idc
from wsi_idc.base.pages.colours import IDC, TISSUE
from wsi_idc.cli.group import main
from wsi_idc.data.content import pixel_digest
from wsi_idc.data.kaggle import index_patches, read_patch
from wsi_idc.errors import DataError
from wsi_idc.models.registry import find_model

from helpers import write_patches


@pytest.fixture
def measured(tmp_path):
    """Patches, and an evaluation of them with probabilities that are known: 8 of each label, all but two right."""
    patches = index_patches(write_patches(tmp_path / "data", ["1", "2"], 50))
    probability = [0.9 + n / 1000 if p.label else 0.1 - n / 1000 for n, p in enumerate(patches)]
    zero = next(n for n, p in enumerate(patches) if not p.label)
    probability[zero] = 0.97
    columns = {name: [getattr(p, name) for p in patches] for name in ("patient", "x", "y", "label")}
    columns |= {"digest": [pixel_digest(read_patch(p.path)).hex() for p in patches]}
    columns |= {"probability": np.float32(probability), "idc": [p >= 0.5 for p in probability]}
    folder = tmp_path / "evaluation"
    folder.mkdir()
    parquet.write_table(pa.table(columns), folder / "predictions.parquet")
    package = find_model("idc-patch")
    model = {fact: getattr(package, fact) for fact in ("name", "version", "sha256")}
    (folder / "metrics.json").write_text(json.dumps({"threshold": 0.5, "models": [model]}))
    return folder, tmp_path / "data", patches, probability, zero


def test_the_most_certain_come_first_and_each_kind_has_its_sheet(measured, tmp_path):
    folder, data, patches, probability, zero = measured
    found = wsi_idc.explain_evaluation(folder, tmp_path / "out", data, number=3)
    sheets = {sheet["kind"]: sheet for sheet in found["sheets"]}
    label = np.array([p.label for p in patches])
    assert [(kind, sheet["n"], len(sheet["patches"])) for kind, sheet in sheets.items()] == [
        ("true positives", label.sum(), 3),
        ("true negatives", len(label) - label.sum() - 1, 3),
        ("false positives", 1, 1),
        ("false negatives", 0, 0),
    ]
    assert sheets["false positives"]["patches"][0]["probability"] == pytest.approx(0.97)
    assert (sheets["false positives"]["patches"][0]["x"], patches[zero].label) == (patches[zero].x, 0)
    sure = [p["probability"] for p in sheets["true positives"]["patches"]]
    assert sure == pytest.approx(sorted((p for n, p in enumerate(probability) if label[n]), reverse=True)[:3])
    low = [p["probability"] for p in sheets["true negatives"]["patches"]]
    assert low == pytest.approx(sorted(p for n, p in enumerate(probability) if not label[n] and n != zero)[:3])
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        "explain.json",
        "false-positives.png",
        "true-negatives.png",
        "true-positives.png",
    ]
    assert json.loads((tmp_path / "out" / "explain.json").read_text()) == found
    for kind, colour in (("false-positives", IDC), ("true-negatives", TISSUE)):
        pixels = np.asarray(Image.open(tmp_path / "out" / f"{kind}.png"))
        assert (pixels[74 + 1, 24 : 24 + 180] == colour).all(), "the frame of the first patch"


def test_the_first_patch_of_a_sheet_is_drawn(measured, tmp_path):
    folder, data, patches, _, zero = measured
    wsi_idc.explain_evaluation(folder, tmp_path / "out", data)
    sheet = np.asarray(Image.open(tmp_path / "out" / "false-positives.png"))
    own = Image.open(patches[zero].path).resize((180, 180), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(sheet[79 : 79 + 180, 29 : 29 + 180], np.asarray(own))


def test_patches_that_are_not_those_measured_are_refused(measured, tmp_path):
    folder, data, patches, _, zero = measured
    moved = patches[zero].path
    other = moved.parents[1] / "1" / moved.name.replace("class0", "class1")
    shutil.move(moved, other)
    with pytest.raises(DataError, match=r"another label for the patch of 1 at x=.*evaluate again"):
        wsi_idc.explain_evaluation(folder, tmp_path / "out", data)
    other.unlink()
    with pytest.raises(DataError, match="has no patch of 1 at x="):
        wsi_idc.explain_evaluation(folder, tmp_path / "out", data)
    assert not (tmp_path / "out").exists()


def test_other_pixels_under_the_same_names_are_refused(measured, tmp_path):
    """Once they were drawn below probabilities that were of other tissue."""
    folder, data, patches, _, zero = measured
    pixels = read_patch(patches[zero].path).copy()
    # The same pixels in another file are the same patch.
    Image.fromarray(pixels).save(patches[zero].path, compress_level=0)
    assert wsi_idc.explain_evaluation(folder, tmp_path / "same", data)["notes"] == []
    pixels[20, 20, 0] ^= 1
    Image.fromarray(pixels).save(patches[zero].path)
    with pytest.raises(DataError, match=r"has other pixels for the patch of 1 at x=.*evaluate again"):
        wsi_idc.explain_evaluation(folder, tmp_path / "out", data)
    assert not (tmp_path / "out").exists()
    table = parquet.read_table(folder / "predictions.parquet")
    parquet.write_table(table.drop_columns(["digest"]), folder / "predictions.parquet")
    (note,) = wsi_idc.explain_evaluation(folder, tmp_path / "out", data)["notes"]
    assert "is known by names and labels only; evaluate again" in note


def test_what_evaluate_did_not_leave_is_said(measured, tmp_path):
    folder, data, *_ = measured
    (folder / "predictions.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"evaluation: is not what wsi-idc evaluate left \(.*\); evaluate again"):
        wsi_idc.explain_evaluation(folder, tmp_path / "out", data)
    with pytest.raises(DataError, match="is not what wsi-idc evaluate leaves; give the folder of its -o"):
        wsi_idc.explain_evaluation(data, tmp_path / "out", data)


def test_an_evaluation_takes_no_options_of_patches(measured, tmp_path):
    folder, data, *_ = measured
    for wrong in ([], ["--patches", data, "--at", "1,2"], ["--patches", data, "--engine", "onnx"]):
        done = CliRunner().invoke(main, ["explain", str(folder), "-o", str(tmp_path / "out"), *map(str, wrong)])
        assert done.exit_code == 2 and "is an evaluation: give it alone, with --patches DATA" in done.output
    done = CliRunner().invoke(main, ["explain", str(folder), "--patches", str(data), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0 and "false positives  1        1      false-positives.png" in done.output
