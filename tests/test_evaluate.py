import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from wsi_idc.cli import main
from wsi_idc.data.assemble import paste_patches
from wsi_idc.data.kaggle import index_patches
from wsi_idc.errors import DataError
from wsi_idc.evaluate import measure, predict_patches
from wsi_idc.inference import Predictor

from helpers import NumpyEngine, numpy_package, summed_darkness

ROWS, COLS = 7, 9


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
    found = predict_patches(index_patches(data), Predictor(numpy_package(halo=halo), NumpyEngine(halo)))
    assert found.left_out == 1
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


def test_borders_sections_and_samples_are_told_apart(data):
    found = predict_patches(index_patches(data), Predictor(numpy_package(), NumpyEngine(0)))
    at = {(p.patient, p.y // 50, p.x // 50): i for i, p in enumerate(found.patches)}
    assert found.border[at["100", 2, 4]], "IDC with not IDC above"
    assert found.border[at["100", 1, 4]]
    assert not found.border[at["100", 3, 4]], "inside"
    assert not found.border[at["100", 0, 0]]
    assert {p.patient for p, whole in zip(found.patches, found.whole_section, strict=True) if whole} == {"100"}


def test_temperature_is_undone_for_the_comparison(data):
    cool = predict_patches(index_patches(data), Predictor(numpy_package(temperature=2.0), NumpyEngine(0)))
    plain = predict_patches(index_patches(data), Predictor(numpy_package(temperature=1.0), NumpyEngine(0)))
    np.testing.assert_allclose(cool.uncalibrated, plain.probability, atol=1e-4)
    assert np.abs(cool.probability - plain.probability).max() > 0.01


def test_groups_add_up(data):
    found = predict_patches(index_patches(data), Predictor(numpy_package(), NumpyEngine(0)))
    metrics = measure(found, 0.5, resamples=20)
    assert metrics["n_patches"] == len(found.patches)
    groups = metrics["groups"]
    for pair in (("whole_sections", "sampled_patients"), ("border", "interior")):
        assert sum(groups[name]["n_patches"] for name in pair) == metrics["n_patches"]
    assert metrics["auc"]["value"] == 1.0
    assert sum(p["n_patches"] for p in metrics["per_patient"].values()) == metrics["n_patches"]


def test_command_writes_everything(data, tmp_path):
    (tmp_path / "patients.txt").write_text("100 200")
    arguments = ["evaluate", str(data), "--patients", str(tmp_path / "patients.txt"), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    names = "auc average_precision f1 weighted_f1 balanced_accuracy accuracy sensitivity specificity precision npv"
    for name in [*names.split(), "brier", "ece"]:
        # The shipped model finds no IDC in noise: what is not defined is null, not a number.
        value, (low, high) = metrics[name]["value"], metrics[name]["ci95"]
        assert (value is None) == (name == "precision")
        assert low is None or low <= high
    assert (metrics["n_patches"], metrics["n_patients"], metrics["left_out"]) == (65, 2, 1)
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.num_rows == 65
    assert {"patient", "x", "y", "label", "probability"} <= set(table.column_names)
    figures = {p.name for p in (tmp_path / "out" / "figures").iterdir()}
    assert {"roc.png", "roc.svg", "confusion_matrix.png", "reliability.svg", "threshold_curves.png"} <= figures
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'src="http' not in page
    assert page.count("data:image/png;base64,") == 5
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "is not empty" in again.stderr


def test_wrong_usage_and_no_patients(data, tmp_path):
    assert CliRunner().invoke(main, ["evaluate", str(data), "-o", str(tmp_path / "o")]).exit_code == 2
    done = CliRunner().invoke(main, ["evaluate", str(data), "--split", "test", "-o", str(tmp_path / "o")])
    assert done.exit_code == 1
    assert "no patient of the test part" in done.stderr
    with pytest.raises(DataError, match="no patch is 64x64"):
        predict_patches(index_patches(data), Predictor(numpy_package(patch_size=64), NumpyEngine(0)))
