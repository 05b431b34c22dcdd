import json

import numpy as np
import pytest
from click.testing import CliRunner

from wsi_idc.cli.group import main
from wsi_idc.data.kaggle import LabelledPatch
from wsi_idc.evaluation import perturb
from wsi_idc.evaluation.robustness import compare_predictions, thinned


def test_numbers_by_hand():
    labels = np.array([1, 1, 0, 0])
    found = compare_predictions(labels, np.array([0.9, 0.4, 0.6, 0.1]), np.array([0.9, 0.6, 0.2, 0.1]), 0.5)
    # Found 1 and 3; before 1 and 2. F1: 1 right of 2 found and 2 labelled.
    assert found["f1"] == pytest.approx(0.5)
    assert found["balanced_accuracy"] == pytest.approx(0.5)
    assert found["changed"] == pytest.approx(0.5)
    assert found["area_ratio"] == pytest.approx(1.0)
    assert found["dice"] == pytest.approx(0.5)
    assert found["mean_shift"] == pytest.approx((-0.2 + 0.4) / 4)
    # Of four pairs of an IDC patch and another, 0.4 below 0.6 is the one in the wrong order.
    assert found["auc"] == pytest.approx(0.75)


def test_nothing_found_before_and_now_has_no_ratio():
    found = compare_predictions(np.zeros(3, int), np.zeros(3), np.zeros(3), 0.5)
    assert np.isnan(found["area_ratio"])
    assert np.isnan(found["dice"])
    assert np.isnan(found["auc"])
    assert found["specificity"] == 1.0


def test_idc_patches_are_taken_out_by_patient():
    patches = [LabelledPatch(None, p, 1, 50 * n + 1, label) for p in "ab" for n, label in enumerate([1] * 10 + [0] * 5)]
    for share, left in ((0.0, 0), (0.1, 1), (0.5, 5), (1.0, 10)):
        rows = thinned(patches, share)
        for patient in "ab":
            own = [patches[r] for r in rows if patches[r].patient == patient]
            assert sum(p.label for p in own) == left
            assert sum(1 - p.label for p in own) == 5
    assert (thinned(patches, 0.5) == thinned(patches, 0.5)).all()


def test_the_command_measures_every_perturbation_and_shows_it(patches, tmp_path, monkeypatch):
    import keras
    from keras import layers

    from helpers import write_unchecked_package

    few = {n: perturb.PERTURBATIONS[n] for n in ("brightness-0.9", "section-jpeg-70-420", "noise-8")}
    monkeypatch.setattr("wsi_idc.evaluation.robustness.PERTURBATIONS", few)
    pixels = keras.Input((16, 16, 3), dtype="uint8", name="pixels")
    dark = layers.Rescaling(-1 / 25, offset=5.0)(layers.GlobalAveragePooling2D()(pixels))
    network = keras.Model(pixels, layers.Dense(1, kernel_initializer="ones", name="logits")(dark))
    package = write_unchecked_package(tmp_path / "model", network, patch_size=16)
    out = tmp_path / "out"
    arguments = ["evaluate", patches, "--split", "val", "--model", package.folder, "--perturb", "-o", out]
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads((out / "metrics.json").read_text())["robustness"]
    assert found["set_version"] == 1
    assert list(found["perturbations"]) == list(few)
    assert list(found["prevalence"]) == ["0", "0.05", "0.5", "0.9"]
    # Darker patches are what this network calls IDC.
    assert found["perturbations"]["brightness-0.9"]["mean_shift"] > 0
    assert found["unperturbed"]["changed"] == 0
    assert (out / "figures" / "robustness.png").stat().st_size > 10_000
    assert "brightness-0.9" in result.output
    text = (out / "report.html").read_text()
    before, section = text.split("<h2>The same tissue, other pixels</h2>")
    assert "brightness-0.9" in section and 'alt="robustness"' in section and 'alt="robustness"' not in before
    assert "-0.000" not in text
