import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_idc.training.config import OptimizerConfig
from wsi_idc.training.schedule import best_epoch, learning_rate, stops


def rate(progress, losses=(), epochs=10, **options):
    return learning_rate(OptimizerConfig(**({"learning_rate": 1.0, "warmup": 0.0} | options)), progress, epochs, losses)


def test_cosine_by_hand():
    for progress, expected in ((0, 1.0), (2.5, 0.853553), (5, 0.5), (7.5, 0.146447), (10, 0.0), (11, 0.0)):
        assert rate(progress, schedule="cosine") == pytest.approx(expected, abs=1e-6)
    # After 2 epochs of warm-up the cosine takes the 8 that are left.
    assert rate(2, schedule="cosine", warmup=2.0) == 1.0
    assert rate(6, schedule="cosine", warmup=2.0) == pytest.approx(0.5)


def test_warmup_by_hand():
    for schedule in ("cosine", "constant", "plateau"):
        found = [rate(p, schedule=schedule, warmup=2.0) for p in (0, 0.05, 0.1, 0.5, 1, 1.5)]
        assert found == pytest.approx([0.05, 0.05, 0.05, 0.25, 0.5, 0.75])


def test_step_by_hand():
    found = [rate(p, schedule="step", patience=3, factor=0.1) for p in (0, 2.99, 3, 5.99, 6, 9)]
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.001])


def test_constant_is_constant():
    assert {rate(p, schedule="constant") for p in (0, 3.3, 10)} == {1.0}


@pytest.mark.parametrize(
    ("losses", "plateaus"),
    [
        ([], 0),
        ([3, 2, 1], 0),
        # Equal is not better.
        ([1, 1], 0),
        ([1, 1, 1], 1),
        # After a plateau the waiting begins again.
        ([1, 2, 2, 2], 1),
        ([1, 2, 2, 2, 2], 2),
        # What is better than the best so far ends the waiting, what is only better than the last does not.
        ([1, 3, 0.5, 3], 0),
        ([1, 3, 2], 1),
        ([1, 3, 0.5, 3, 2, 1], 1),
    ],
)
def test_plateaus_counted_by_hand(losses, plateaus):
    assert rate(len(losses), losses, schedule="plateau", patience=2, factor=0.5) == 0.5**plateaus


@given(
    st.sampled_from(["cosine", "step", "plateau", "constant"]),
    st.floats(0.1, 9),
    st.integers(1, 9),
    st.lists(st.floats(0, 9), max_size=9),
)
def test_warmup_ends_where_the_schedule_begins(schedule, warmup, patience, losses):
    """No jump at the end of the warm-up, and no rate above the one that was asked for."""
    options = {"schedule": schedule, "warmup": warmup, "patience": patience}
    around = warmup - 1e-9, warmup + 1e-9
    before, after = (rate(p, losses, **options) for p in around)
    # A step may fall on the very end of the warm-up.
    if schedule != "step" or around[0] // patience == around[1] // patience:
        assert before == pytest.approx(after, rel=1e-6)
    assert all(0 <= rate(p / 7, losses, **options) <= 1 for p in range(80))


def test_the_best_epoch_is_the_first_of_equals():
    assert best_epoch([3.0, 1.0, 2.0, 1.0]) == 1


def test_stopping_by_hand():
    assert not stops(0, [1.0, 2.0, 3.0]), "0 is never"
    assert not stops(2, [])
    assert not stops(2, [1.0])
    assert not stops(2, [1.0, 2.0])
    assert stops(2, [1.0, 2.0, 3.0])
    assert stops(2, [1.0, 1.0, 1.0])
    assert not stops(2, [1.0, 2.0, 0.5, 2.0])
    assert stops(2, [1.0, 2.0, 0.5, 2.0, 0.6])
