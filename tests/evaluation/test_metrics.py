import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.base.bootstrap import patient_bootstrap
from wsi_idc.evaluation.metrics import (
    expected_calibration_error,
    patch_metrics,
    resampled_metrics,
    uncertainty_metrics,
)


def test_by_hand():
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    probability = np.array([0.9, 0.8, 0.2, 0.7, 0.3, 0.2, 0.1, 0.0])
    found = patch_metrics(labels, probability, 0.7)
    # TP 2, FN 1, FP 1, TN 4.
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert found["specificity"] == pytest.approx(4 / 5)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["npv"] == pytest.approx(4 / 5)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["accuracy"] == pytest.approx(6 / 8)
    assert found["weighted_f1"] == pytest.approx((3 * 2 / 3 + 5 * 0.8) / 8)
    # Of 15 pairs 0.2 ties once, and is below 0.7 and 0.3: 12 right and one half.
    assert found["auc"] == pytest.approx(12.5 / 15)
    # IDC is found at 0.9 (1 of 1), 0.8 (2 of 2) and 0.2, where six patches have been taken (3 of 6).
    assert found["average_precision"] == pytest.approx((1 + 1 + 3 / 6) / 3)
    squares = (0.1**2, 0.2**2, 0.8**2, 0.7**2, 0.3**2, 0.2**2, 0.1**2, 0)
    assert found["brier"] == pytest.approx(sum(squares) / 8)


@settings(max_examples=60)
@given(st.integers(2, 60), st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_as_scikit_learn_computes_them(n, seed, threshold):
    rng = np.random.default_rng(seed)
    # In steps of a twentieth, so that some tie.
    labels, probability = rng.integers(0, 2, n), rng.integers(0, 21, n) / 20
    labels[:2] = 0, 1
    positive = probability >= threshold
    found = patch_metrics(labels, probability, threshold)
    assert found["weighted_f1"] == pytest.approx(sk.f1_score(labels, positive, average="weighted", zero_division=0))
    assert found["f1"] == pytest.approx(sk.f1_score(labels, positive))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, positive))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, positive))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(labels, probability))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(labels, probability))
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(labels, probability))


@settings(max_examples=60)
@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_counting_a_patch_twice_is_having_it_twice(n, seed):
    rng = np.random.default_rng(seed)
    labels, probability, weights = rng.integers(0, 2, n), rng.integers(0, 11, n) / 10, rng.integers(0, 4, n)
    weights[0] = 1
    drawn = np.repeat(np.arange(n), weights)
    counted = resampled_metrics(labels, probability, probability >= 0.5)(weights)
    assert counted == pytest.approx(patch_metrics(labels[drawn], probability[drawn], 0.5), nan_ok=True)


def test_one_class_only_is_not_defined_rather_than_wrong():
    found = patch_metrics(np.zeros(4, int), np.array([0.1, 0.2, 0.8, 0.3]), 0.5)
    assert all(np.isnan(found[n]) for n in ("auc", "average_precision", "sensitivity", "balanced_accuracy"))
    assert found["specificity"] == 0.75


def test_calibration_error_by_hand():
    # Two bins of 15: 0.30 stated for 4 patches of which 1 is IDC, 0.90 for 6 of which 6 are.
    probability, labels = np.array([0.30] * 4 + [0.90] * 6), np.array([1, 0, 0, 0] + [1] * 6)
    expected = (4 * abs(0.30 - 0.25) + 6 * abs(0.90 - 1.0)) / 10
    assert expected_calibration_error(labels, probability, np.ones(10, int)) == pytest.approx(expected)


def test_uncertainty_that_knows_the_errors_by_hand():
    """Eight patches in four pairs of rising uncertainty; one of the third pair and both of the last are wrong."""
    uncertainty = np.repeat([0.0, 0.1, 0.2, 0.3], 2)
    wrong = np.array([0, 0, 0, 0, 0, 1, 1, 1], bool)
    found = uncertainty_metrics(wrong, uncertainty, np.repeat(["a", "b"], 4), resamples=50)
    assert [q["error_rate"]["value"] for q in found["quartiles"]] == [0, 0, 0.5, 1]
    assert [(q["from"], q["to"], q["n_patches"]) for q in found["quartiles"]] == [
        (u, u, 2) for u in (0.0, 0.1, 0.2, 0.3)
    ]
    # Of 15 pairs of a wrong and a right patch one ties.
    assert found["auc_of_errors"]["value"] == pytest.approx(14.5 / 15)
    # Patient b alone: its wrong patches and its one right patch, which ties with one of three.
    assert found["auc_of_errors"]["ci95"][0] == pytest.approx(2.5 / 3)


def test_uncertainty_that_is_the_same_everywhere_or_without_errors():
    found = uncertainty_metrics(np.array([True, False]), np.zeros(2), np.array(["a", "b"]), resamples=10)
    assert [q["n_patches"] for q in found["quartiles"]] == [2, 0, 0, 0]
    assert np.isnan(found["quartiles"][3]["error_rate"]["value"])
    assert found["auc_of_errors"]["value"] == 0.5
    found = uncertainty_metrics(np.zeros(2, bool), np.array([0.1, 0.2]), np.array(["a", "b"]), resamples=10)
    assert np.isnan(found["auc_of_errors"]["value"])


def test_bootstrap_draws_patients_not_patches():
    """Two patients, all right and all wrong: draws have none, half or all right, so the interval is all there is."""
    patients = np.repeat(["a", "b"], 500)
    right = np.repeat([1.0, 0.0], 500)
    found = patient_bootstrap(patients, lambda w: {"accuracy": float(right @ w / w.sum())}, resamples=400)
    assert found["accuracy"] == {"value": 0.5, "ci95": [0.0, 1.0]}


def test_interval_of_a_mean_is_the_one_of_its_patients():
    rng = np.random.default_rng(1)
    means = rng.normal(0, 1, 100)
    patients, values = np.repeat(np.arange(100), 20), np.repeat(means, 20)
    found = patient_bootstrap(patients, lambda w: {"mean": float(values @ w / w.sum())})["mean"]
    half = 1.96 * means.std() / 10
    np.testing.assert_allclose(found["ci95"], [means.mean() - half, means.mean() + half], atol=0.05)
    again = patient_bootstrap(patients, lambda w: {"mean": float(values @ w / w.sum())})["mean"]
    assert again == found, "the same seed, the same interval"


def test_a_single_patient_has_no_interval():
    found = patient_bootstrap(np.array(["a", "a"]), lambda w: {"x": 1.0})
    assert found["x"]["value"] == 1.0
    assert np.isnan(found["x"]["ci95"]).all()
