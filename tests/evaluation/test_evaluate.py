import html
import json
import re
import shutil
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from wsi_idc.cli.group import main
from wsi_idc.data.assemble import paste_patches
from wsi_idc.data.content import pixel_digest
from wsi_idc.data.kaggle import LabelledPatch, index_patches, read_patch
from wsi_idc.data.scale import state_mpp
from wsi_idc.errors import DataError, ModelError
from wsi_idc.evaluation.evaluate import Measured, evaluate_model, measure
from wsi_idc.evaluation.plots import draw_figures
from wsi_idc.evaluation.predictions import Predictions, predict_patches
from wsi_idc.inference.ensemble import Ensemble
from wsi_idc.inference.predictor import Predictor
from wsi_idc.models.registry import find_model
from wsi_idc.training.package import package_run

from helpers import NumpyEngine, numpy_package, summed_darkness, write_patches

ROWS, COLS = 7, 9


def ensemble(halo=0, **facts):
    return Ensemble([Predictor(numpy_package(halo=halo, **facts), NumpyEngine(halo))])


def run(*arguments):
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def listing(folder, text):
    path = folder / "patients.txt"
    path.write_text(text)
    return path


def by_hand(labels, probability, patients, **changes):
    """Make predictions from a few numbers; the patches are not read."""
    n = len(labels)
    patches = [LabelledPatch(None, p, 1, 50 * i + 1, y) for i, (p, y) in enumerate(zip(patients, labels, strict=True))]
    facts = {
        "probability": np.array(probability, np.float32),
        "uncalibrated": np.array(probability, np.float32),
        "uncertainty": None,
        "border": np.zeros(n, bool),
        "whole_section": np.zeros(n, bool),
        "digests": np.full(n, ""),
        "left_out": 0,
    }
    return Predictions(patches=patches, **facts | changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two patients: a section of dark (IDC) and pale patches with holes in it, and a few lone patches."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)

    def write(patient, row, col, label):
        folder = root / patient / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(20, 120, (50, 50, 3)) if label else rng.integers(120, 250, (50, 50, 3))
        name = f"{patient}_idx5_x{col * 50 + 1}_y{row * 50 + 1}_class{label}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)

    for row in range(ROWS):
        for col in range(COLS):
            if (row, col) not in ((3, 3), (5, 1)):
                write("100", row, col, int(2 <= row <= 4 and 3 <= col <= 6))
    for col in range(0, 12, 3):
        write("200", 2 * (col % 2), col, col % 2)
    Image.fromarray(np.zeros((50, 20, 3), np.uint8)).save(root / "200" / "0" / "200_idx5_x1001_y1_class0.png")
    return root


@pytest.mark.parametrize("halo", [0, 2])
def test_each_patch_is_predicted_with_its_neighbours_of_the_same_patient(data, halo):
    found = predict_patches(index_patches(data), ensemble(halo))
    assert found.left_out == 1
    assert found.uncertainty is None
    for patient in ("100", "200"):
        own = index_patches(data, {patient})
        own = [p for p in own if p.x != 1001]
        canvas = paste_patches(own)
        present = np.zeros((canvas.shape[0] // 50, canvas.shape[1] // 50), bool)
        for p in own:
            present[p.y // 50, p.x // 50] = True
        expected = summed_darkness(canvas, present, halo)
        for patch, probability in zip(found.patches, found.probability, strict=True):
            if patch.patient == patient:
                assert probability == pytest.approx(expected[patch.y // 50, patch.x // 50], abs=1e-5)


def test_every_row_has_the_digest_of_the_pixels_of_its_patch(data):
    patches = index_patches(data)
    found = predict_patches(patches[::-1], ensemble())
    expected = [pixel_digest(read_patch(p.path)).hex() for p in found.patches]
    assert found.digests.tolist() == expected
    assert len(set(expected)) == len(expected)


def test_borders_sections_and_samples_are_told_apart(data):
    found = predict_patches(index_patches(data), ensemble())
    at = {(p.patient, p.y // 50, p.x // 50): i for i, p in enumerate(found.patches)}
    assert found.border[at["100", 2, 4]], "IDC with not IDC above"
    assert found.border[at["100", 1, 4]]
    assert not found.border[at["100", 3, 4]], "inside"
    assert not found.border[at["100", 0, 0]]
    assert {p.patient for p, whole in zip(found.patches, found.whole_section, strict=True) if whole} == {"100"}


def test_temperature_is_undone_for_the_comparison(data):
    cool = predict_patches(index_patches(data), ensemble(temperature=2.0))
    plain = predict_patches(index_patches(data), ensemble(temperature=1.0))
    np.testing.assert_allclose(cool.uncalibrated, plain.probability, atol=1e-4)
    assert np.abs(cool.probability - plain.probability).max() > 0.01


@pytest.mark.parametrize("halo", [0, 1])
def test_a_model_of_damaged_weights_is_named(data, halo):
    class Damaged(NumpyEngine):
        def run(self, network, *inputs):
            return super().run(network, *inputs) * np.nan

    damaged = Ensemble([Predictor(numpy_package(halo=halo), Damaged(halo))])
    with pytest.raises(ModelError, match="test: gives no number for 4 of 4 patches"):
        predict_patches(index_patches(data, {"200"}), damaged)


def test_groups_add_up(data):
    found = predict_patches(index_patches(data), ensemble())
    metrics = measure(found, 0.5, resamples=20)
    assert metrics["n_patches"] == len(found.patches)
    groups = {name: group["n_patches"] for name, group in metrics["groups"].items()}
    assert groups["whole_sections"] + groups["sampled_patients"] == metrics["n_patches"]
    assert groups["border"] + groups["interior"] == groups["whole_sections"], "a sample has no known border"
    assert metrics["auc"]["value"] == 1.0
    assert sum(p["n_patches"] for p in metrics["per_patient"].values()) == metrics["n_patches"]


def test_measured_by_hand():
    """Patient a: an IDC patch found, another missed at the border. Patient b, of a section: one false, one right."""
    found = by_hand(
        [1, 1, 0, 0],
        [0.9, 0.2, 0.6, 0.4],
        ["a", "a", "b", "b"],
        uncalibrated=np.array([1.0, 0.0, 0.5, 0.5], np.float32),
        uncertainty=np.array([0.0, 0.3, 0.2, 0.1], np.float32),
        border=np.array([False, True, False, True]),
        whole_section=np.array([False, False, True, True]),
    )
    metrics = measure(found, 0.5, resamples=100)
    assert (metrics["n_patches"], metrics["n_patients"], metrics["threshold"]) == (4, 2, 0.5)
    # Draws are a and a, a and b, b and b.
    assert metrics["accuracy"] == {"value": 0.5, "ci95": [0.5, 0.5]}
    assert metrics["auc"]["value"] == 0.5
    calibration = metrics["calibration"]
    assert calibration["before"]["brier"]["value"] == pytest.approx((0 + 1 + 0.25 + 0.25) / 4)
    assert calibration["after"]["brier"]["value"] == pytest.approx((0.01 + 0.64 + 0.36 + 0.16) / 4)
    assert calibration["after"]["ece"] == metrics["ece"]
    # Bins of a fifteenth: 1 for 1 right, 0 for 1 IDC, 0.5 twice for none.
    assert calibration["before"]["ece"]["value"] == pytest.approx((0 + 1 + 2 * 0.5) / 4)
    groups = metrics["groups"]
    assert groups["border"]["n_patches"] == groups["interior"]["n_patches"] == 1
    assert groups["border"]["accuracy"]["value"] == 1
    assert groups["interior"]["accuracy"]["value"] == 0
    assert metrics["per_patient"]["a"]["sensitivity"] == 0.5
    assert np.isnan(metrics["per_patient"]["a"]["specificity"])
    # The two wrong patches are the most uncertain.
    assert metrics["uncertainty"]["auc_of_errors"]["value"] == 1
    assert [q["error_rate"]["value"] for q in metrics["uncertainty"]["quartiles"]] == [0, 0, 1, 1]
    assert metrics["notes"] == ["2 patients only: intervals from so few are too narrow"]
    many = by_hand([1, 0] * 10, [0.9, 0.1] * 10, [str(n // 2) for n in range(20)])
    assert measure(many, 0.5, resamples=5)["notes"] == []


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_is_said_and_drawn_as_such(label, tmp_path):
    found = by_hand([label] * 3, [0.1, 0.2, 0.7], ["a", "a", "a"])
    metrics = measure(found, 0.5, resamples=5)
    name = ("not IDC", "IDC")[label]
    every, undefined, intervals = metrics["notes"]
    assert every == f"every patch is labelled {name}: what compares the two classes is not defined"
    assert undefined.startswith("not defined on these patches: auc, average_precision, ")
    assert intervals == "one patient only: no intervals"
    draw_figures(tmp_path, found, 0.5)
    for figure in ("roc", "precision_recall"):
        assert f"every patch is labelled {name}" in (tmp_path / f"{figure}.svg").read_text()


def test_command_writes_everything(data, tmp_path):
    arguments = (data, "--patients", listing(tmp_path, "100 200"), "-o", tmp_path / "out")
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert "patches left out: 1" in done.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    ranked = ["auc", "average_precision", "f1", "weighted_f1", "balanced_accuracy", "accuracy"]
    for name in [*ranked, "sensitivity", "specificity", "precision", "npv", "brier", "ece"]:
        value, (low, high) = metrics[name]["value"], metrics[name]["ci95"]
        assert 0 <= value <= 1
        assert low is None or low <= high
    assert (metrics["n_patches"], metrics["n_patients"], metrics["left_out"]) == (65, 2, 1)
    assert [m["name"] for m in metrics["models"]] == ["idc-context"]
    assert "uncertainty" not in metrics
    said = f"patients that {arguments[2]} lists, in {data}"
    assert metrics["measured_on"] == said and said in (tmp_path / "out" / "report.html").read_text()
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.num_rows == 65
    columns = ["patient", "x", "y", "label", "probability", "uncalibrated", "idc", "border", "whole_section", "digest"]
    assert table.column_names == columns
    figures = ("confusion_matrix", "roc", "precision_recall", "reliability", "threshold_curves")
    drawn = {p.name for p in (tmp_path / "out" / "figures").iterdir()}
    assert drawn == {f"{name}.{form}" for name in figures for form in ("png", "svg")}
    report = (tmp_path / "out" / "classification_report.txt").read_text()
    values = json.loads((tmp_path / "out" / "classification_report.json").read_text())
    assert values["IDC"]["recall"] == metrics["sensitivity"]["value"]
    assert values["IDC"]["precision"] == metrics["precision"]["value"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert html.escape(report) in page
    assert "://" not in page
    # Letters of a picture may happen to spell it.
    text = re.sub(r"base64,[^\"]*", "", page.replace(html.escape(report), ""))
    assert "nan" not in text
    assert page.count("data:image/png;base64,") == 5
    again = run(*arguments)
    assert again.exit_code == 1
    assert "is not empty" in again.stderr


def test_command_with_two_models_in_eight_views(data, tmp_path):
    models = ("--model", "idc-patch", "--model", "idc-context")
    done = run(data, *models, "--tta", "--patients", listing(tmp_path, "200"), "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [m["name"] for m in metrics["models"]] == ["idc-patch", "idc-context"]
    own = [m["threshold"] for m in metrics["models"]]
    assert min(own) < metrics["threshold"] < max(own)
    assert metrics["tta"]
    assert sum(q["n_patches"] for q in metrics["uncertainty"]["quartiles"]) == metrics["n_patches"] == 4
    uncertainty = pq.read_table(tmp_path / "out" / "predictions.parquet")["uncertainty"].to_numpy()
    assert (uncertainty > 0).all()
    page = (tmp_path / "out" / "report.html").read_text()
    one, other = (f"{m['name']} {m['version']}" for m in metrics["models"])
    assert f"Evaluation of {one} with {other}, each in eight views" in page
    assert "<h2>Uncertainty</h2>" in page


def test_wrong_usage_and_no_patients(data, tmp_path):
    out = ("-o", tmp_path / "o")
    assert run(data, *out).exit_code == 2
    done = run(data, "--split", "test", *out)
    assert done.exit_code == 1
    assert "no patient of the test part" in done.stderr and "; --split all takes all patients in it" in done.stderr
    with pytest.raises(DataError, match="no patch is 64x64"):
        predict_patches(index_patches(data), ensemble(patch_size=64))
    assert run(data, "--model", "idc-patch", "--model", "no-such", "--split", "test", *out).exit_code == 2


def test_all_patients_that_are_there_are_measured_when_that_is_said(data, tmp_path):
    shutil.copytree(data, tmp_path / "own")
    (tmp_path / "own" / "._100").mkdir()
    done = run(tmp_path / "own", "--split", "all", "--model", "idc-patch", "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    metrics = json.loads((tmp_path / "o" / "metrics.json").read_text())
    assert metrics["n_patients"] == len({p.patient for p in index_patches(data)})
    assert not any("flattered" in note for note in metrics["notes"])
    (tmp_path / "own" / "100").rename(tmp_path / "own" / "8865")
    for path in [*(tmp_path / "own" / "8865").glob("*/*.png")]:
        path.rename(path.with_name(path.name.replace("100_", "8865_")))
    metrics = evaluate_model(tmp_path / "own", Measured([find_model("idc-patch")]), tmp_path / "p", "all")
    assert any(
        note.startswith("1 patient is of the official parts train, on which idc-patch") for note in metrics["notes"]
    )


@pytest.mark.parametrize(
    ("patients", "message"),
    [("100 12 200 7", "has no patches of 12, 7"), (" \n", "patients.txt: lists no patient")],
)
def test_lists_that_do_not_fit_the_folder(data, tmp_path, patients, message):
    done = run(data, "--patients", listing(tmp_path, patients), "-o", tmp_path / "o")
    assert done.exit_code == 1
    assert message in done.stderr
    assert not (tmp_path / "o").exists()


def test_patients_of_no_list_are_those_with_patches(data, tmp_path, monkeypatch):
    """Beside them may lie the copy of the tree that Kaggle's archive nests in itself, and whatever else."""
    monkeypatch.setattr("wsi_idc.evaluation.evaluate.measure", partial(measure, resamples=5))
    for patient in ("100", "200"):
        shutil.copytree(data / patient, tmp_path / "data" / patient)
    shutil.copytree(data, tmp_path / "data" / "IDC_regular_ps50_idx5")
    (tmp_path / "data" / "notes").mkdir()
    done = run(tmp_path / "data", "--model", "idc-patch", "--split", "unlisted", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "65 patches of 2 patients" in done.stdout


def test_a_place_that_cannot_be_written_is_said_before_anything_is_computed(data, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("wsi_idc.evaluation.predictions.predict_patches", None)
    done = run(data, "--patients", listing(tmp_path, "200"), "-o", tmp_path / "file" / "out")
    assert done.exit_code == 1
    assert "file/out: cannot be written (" in done.stderr


def test_damaged_patches_and_other_layouts_are_named(data, tmp_path):
    folder = tmp_path / "data" / "100" / "0"
    folder.mkdir(parents=True)
    (folder / "100_idx5_x1_y1_class0.png").write_bytes(b"no image")
    arguments = ("--patients", listing(tmp_path, "100"), "-o", tmp_path / "o")
    done = run(tmp_path / "data", *arguments)
    assert done.exit_code == 1
    assert "100_idx5_x1_y1_class0.png: cannot be read" in done.stderr
    done = run(tmp_path, *arguments)
    assert done.exit_code == 1
    assert f"they are in {tmp_path / 'data'}, give that folder" in done.stderr
    assert not (tmp_path / "o").exists()


def test_a_model_of_another_scale_than_the_patches_state_is_refused(data, tmp_path):
    own = shutil.copytree(data, tmp_path / "own")
    state_mpp(own, 1.0)
    done = run(own, "--split", "all", "--model", "idc-patch", "-o", tmp_path / "o")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert (
        "own: its patches are at 1 um/px (patches.json), and idc-patch sees 4; give a model of that scale"
        in done.stderr
    )
    assert not (tmp_path / "o").exists()


def test_a_model_says_whom_it_has_seen_and_what_scale_it_takes_patches_for(patches, trained, tmp_path, monkeypatch):
    """Once only models that ship knew whom they had seen."""
    monkeypatch.setattr("wsi_idc.evaluation.evaluate.measure", partial(measure, resamples=5))
    package = package_run(trained, tmp_path / "model", mpp=1.0)
    own = shutil.copytree(patches, tmp_path / "own")
    # By their ids: such that are in no list of the official split, too, as those of its training.
    write_patches(own, ["mine"])
    notes = evaluate_model(own, Measured([package]), tmp_path / "out", "all")["notes"]
    seen = [note for note in notes if "flattered" in note]
    assert [note.partition(", on which")[0] for note in seen] == [
        "6 patients are of the official parts train, val",
        "1 patient is by its id of those",
    ]
    assert all("on which model 1.0.0 was trained or its threshold chosen" in note for note in seen)
    assert sum(note.startswith("nothing states the scale of the patches") for note in notes) == 1
    listed = listing(tmp_path, "8864 mine")
    none = evaluate_model(own, Measured([package]), tmp_path / "none", listed, perturb=True)["notes"]
    assert not any("flattered" in note for note in none)
    assert sum("another scale are made as of patches at 4 um/px" in note for note in none) == 1
