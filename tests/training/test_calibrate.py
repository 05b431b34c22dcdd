import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.errors import DataError
from wsi_idc.training.calibrate import (
    calibrate,
    check_validation,
    cross_validated,
    fit_temperature,
    fit_threshold,
    probabilities,
)

pytestmark = pytest.mark.usefixtures("few_resamples")


@settings(max_examples=20)
@given(st.floats(0.3, 3.0), st.integers(0, 1000))
def test_temperature_is_recovered(true, seed):
    """Labels drawn from sigmoid(logit / T) are best described by T."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, 40_000)
    labels = rng.random(40_000) < probabilities(logits, true)
    assert fit_temperature(logits, labels.astype(np.uint8)) == pytest.approx(true, rel=0.1)


def test_threshold_by_hand():
    probability = np.array([0.1, 0.2, 0.3, 0.4, 0.8, 0.9])
    labels = np.array([0, 0, 1, 0, 1, 1])
    # >= 0.3: TP 3, FP 1, FN 0, F1 6/7, BAC 5/6, 2.548; >= 0.8: TP 2, FN 1, F1 4/5, BAC 5/6, 2.433.
    assert fit_threshold(probability, labels) == 0.3


def test_threshold_weighs_balanced_accuracy_with_f1():
    probability = np.array([0.9, 0.3, 0.6, 0.5, *[0.1] * 8])
    labels = np.array([1, 1] + [0] * 10)
    # >= 0.9: F1 2/3, BAC 0.75, 2.083; >= 0.3: TP 2, FP 2, F1 2/3 too, BAC 0.9, 2.233.
    assert fit_threshold(probability, labels) == 0.3


def test_threshold_gives_f1_twice_the_weight():
    probability = np.array([0.9, 0.3, 0.6, 0.5, 0.4, *[0.1] * 7])
    labels = np.array([1, 1] + [0] * 10)
    # >= 0.9: F1 2/3, BAC 0.75, 2.083; >= 0.3: TP 2, FP 3, F1 4/7, BAC 0.85, 1.993 (with equal weights the other way).
    assert fit_threshold(probability, labels) == 0.9


def drawn(seed=0, patients=7, each=300):
    """Logits that say twice what they know, of patients that differ in how much."""
    rng = np.random.default_rng(seed)
    owner = np.repeat([f"p{n}" for n in range(patients)], each)
    logits = rng.normal(-1, 3, len(owner))
    labels = (rng.random(len(owner)) < probabilities(logits, 2.0)).astype(np.uint8)
    return logits.astype(np.float32), owner, labels


def test_each_patient_is_calibrated_by_the_others_only():
    logits, patients, labels = drawn()
    probability, positive = cross_validated(logits, patients, labels)
    # Seven patients in six folds: the first and the seventh are left out together.
    for here in [np.isin(patients, ["p0", "p6"]), *(patients == f"p{n}" for n in range(1, 6))]:
        temperature = fit_temperature(logits[~here], labels[~here])
        threshold = fit_threshold(probabilities(logits[~here], temperature), labels[~here])
        np.testing.assert_array_equal(probability[here], probabilities(logits[here], temperature))
        np.testing.assert_array_equal(positive[here], probability[here] >= threshold)
    mine = patients == "p3"
    turned = np.where(mine, 1 - labels, labels)
    again, _ = cross_validated(logits, patients, turned)
    np.testing.assert_array_equal(again[mine], probability[mine], "a patient's own labels do not matter to it")


def test_what_a_training_keeps():
    logits, patients, labels = drawn()
    whole = patients < "p2"
    found = calibrate(logits, labels, patients, whole)
    assert found["temperature"] == pytest.approx(2.0, rel=0.15)
    groups = found["metrics"]
    assert {name: (v["patients"], v["patches"]) for name, v in groups.items()} == {
        "val": (7, 2100),
        "val_whole_sections": (2, 600),
        "val_sampled_patients": (5, 1500),
    }
    assert groups["val"]["ece"]["value"] < 0.05
    assert set(calibrate(logits, labels, patients, ~np.zeros(2100, bool))["metrics"]) == {"val", "val_whole_sections"}


@pytest.mark.parametrize("gap", [60.0, -60.0])
def test_thresholds_of_certain_networks_are_within_a_package(gap):
    """Where all is right, or all is wrong, by far, a threshold would round to 1 or 0."""
    labels = np.arange(40) % 2
    logits = np.where(labels == 1, gap, -gap) + 50
    found = calibrate(logits, labels, np.repeat(["a", "b"], 20), np.ones(40, bool))
    assert 0 < found["threshold"] < 1


@pytest.mark.parametrize(
    ("labels", "patients", "fault"),
    [
        ([0, 0, 0, 0], "aabb", "all 4 validation patches are of class 0; both are needed"),
        ([0, 1, 0, 1], "aaaa", "without a the validation patches are not of both classes"),
        ([0, 1, 0, 0], "aabb", "without a the validation patches are not of both classes"),
        ([0, 1, 0, 0, 1, 1, 0], "aabcdea", "without a the"),
    ],
)
def test_validation_patients_that_are_too_few(labels, patients, fault):
    given = np.array(list(patients)), np.array(labels)
    if fault == "without a the":
        check_validation(*given)  # Whoever is left out, both classes are left.
        return
    with pytest.raises(DataError, match=fault):
        check_validation(*given)


@pytest.mark.parametrize(("logits", "end"), [([-9.0, 9.0], 0.0498), ([9.0, -9.0], 20.0855)])
def test_a_temperature_at_the_end_of_its_search_is_told(logits, end):
    """Where all is told apart, the lower the better, and where nothing is, the higher: neither is a minimum."""
    labels = np.tile([0, 1], 12)
    patients = np.repeat(["a", "b", "c"], 8)
    found = calibrate(np.tile(np.array(logits, np.float32), 12), labels, patients, np.ones(24, bool))
    assert found["temperature"] == pytest.approx(end, rel=1e-2)
    (note,) = found["notes"]
    assert note.startswith(f"the temperature, {found['temperature']:g}, is the end of its search (0.05 to 20)")
    rng = np.random.default_rng(0)
    unsure = (2 * labels - 1 + rng.normal(0, 2, 24)).astype(np.float32)
    assert calibrate(unsure, labels, patients, np.ones(24, bool))["notes"] == []
