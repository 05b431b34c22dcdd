import json
import math

import numpy as np
import pytest

from wsi_idc.errors import DataError, DivergedError
from wsi_idc.training.augmentation.batches import TrainingSet
from wsi_idc.training.config import read_config
from wsi_idc.training.fit import BEST, CHECKPOINT, fit, predict_logits

from fitted import SMALL, array, network

TRAINING = array(np.arange(44) % 2)
VAL = array(np.arange(20) % 2, seed=1)
# Nothing to learn: the validation loss goes up and down.
CHANCE = array(np.arange(20) % 2, seed=2, told=np.random.default_rng(0).permutation(np.arange(20) % 2))


def fitted(run, *settings, val=VAL, model=None, **hooks):
    config = read_config(None, [*SMALL, *settings])
    run.mkdir(exist_ok=True)
    return fit(model or network(), TrainingSet.of(TRAINING, config), val, run, config, **hooks)


def without_seconds(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


class Interruption(Exception):
    pass


CASES = {
    "adamw, averaged": (["optimizer.average=0.9", "optimizer.warmup=1"], VAL),
    "sgd, plateaus": (
        [
            "optimizer.kind=sgd",
            "optimizer.learning_rate=0.1",
            "optimizer.schedule=plateau",
            "optimizer.patience=1",
            "loss.kind=focal",
        ],
        CHANCE,
    ),
    "stopped early": (["fit.early_stopping=2", "optimizer.average=0.5", "loss.class_weights=balanced"], CHANCE),
}


@pytest.mark.parametrize("case", CASES)
def test_interrupted_anywhere_it_ends_as_if_it_had_not_been(tmp_path, case):
    """Bit for bit: after every epoch, and in the middle of one, it begins again in a new network."""
    settings, val = CASES[case]
    model, history = fitted(tmp_path / "whole", *settings, val=val)

    def at_the_end(_history):
        raise Interruption

    def in_the_middle(batch, _total, _logs):
        if batch == 3:
            raise Interruption

    hooks = [{"on_batch": in_the_middle}, {"on_epoch": at_the_end}, {"on_batch": in_the_middle}]
    hooks += [{"on_epoch": at_the_end}] * (len(history) - 1)
    for given in hooks:
        with pytest.raises(Interruption):
            fitted(tmp_path / "parts", *settings, val=val, **given)
    again, resumed = fitted(tmp_path / "parts", *settings, val=val)
    assert without_seconds(resumed) == without_seconds(history)
    for expected, found in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    if "plateau" in str(settings):
        assert len({r["learning_rate"] for r in history[1:]}) > 1, "the case is of interest only with a plateau"
    if "early" in str(settings):
        assert len(history) < 4, "the case is of interest only where it stops"


def test_another_seed_is_another_training(tmp_path):
    first, again, other = (
        fitted(tmp_path / name, "fit.epochs=1", f"fit.seed={seed}")[0].get_weights()[0]
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_it_learns_and_a_finished_run_is_not_trained_again(tmp_path):
    model, history = fitted(tmp_path, "fit.epochs=8", "loss.label_smoothing=0.05")
    assert history[-1]["loss"] < history[0]["loss"] - 0.1
    assert history[-1]["val_auc"] > 0.9
    assert [r["epoch"] for r in history] == list(range(1, 9))
    logits = predict_logits(model, VAL.pixels)
    assert history[-1]["val_accuracy"] == ((logits > 0) == VAL.labels).mean()
    before = (tmp_path / CHECKPOINT).read_bytes()
    again, same = fitted(
        tmp_path, "fit.epochs=8", "loss.label_smoothing=0.05", on_batch=lambda *_: pytest.fail("trained again")
    )
    assert same == history
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    np.testing.assert_array_equal(predict_logits(again, VAL.pixels), logits)


def test_stopped_early_the_weights_are_those_of_the_best_epoch(tmp_path):
    model, history = fitted(tmp_path, "fit.early_stopping=2", "fit.epochs=9", val=CHANCE)
    losses = [r["val_loss"] for r in history]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 9
    sign = np.where(CHANCE.labels == 1, 1, -1)
    assert np.logaddexp(0, -sign * predict_logits(model, CHANCE.pixels)).mean() == pytest.approx(losses[best], rel=1e-6)


def test_without_epochs_the_weights_stay(tmp_path):
    model = network()
    before = model.get_weights()
    for settings in ([], ["fit.early_stopping=2"], ["optimizer.average=0.9"]):
        found, history = fitted(tmp_path, "fit.epochs=0", *settings, model=model)
        assert history == []
        for expected, value in zip(before, found.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)
    assert not list(tmp_path.iterdir())


def test_the_learning_rate_is_that_of_the_schedule(tmp_path):
    rates = []
    model = network()

    def on_batch(_batch, _total, _logs):
        rates.append(float(model.optimizer.learning_rate))

    settings = ["fit.epochs=2", "optimizer.warmup=1", "optimizer.learning_rate=1e-3"]
    _, history = fitted(tmp_path, *settings, model=model, on_batch=on_batch)
    # 44 patches are 5 whole batches of 8 an epoch; a warm-up epoch, then the cosine to zero.
    warm = [0.05, 0.2, 0.4, 0.6, 0.8]
    cosine = [0.5 + 0.5 * math.cos(math.pi * n / 5) for n in range(5)]
    assert rates == pytest.approx([v * 1e-3 for v in warm + cosine], rel=1e-5)
    assert [r["learning_rate"] for r in history] == pytest.approx([1e-3, 0], abs=1e-12)


def test_the_average_is_of_the_weights_after_each_batch(tmp_path):
    model = network()
    passed = []

    def on_batch(*_):
        passed.append(model.get_weights())

    fitted(tmp_path / "averaged", "optimizer.average=0.5", "fit.epochs=2", model=model, on_batch=on_batch)
    start, averaged = network().get_weights(), model.get_weights()
    for number, found in enumerate(averaged):
        mean = start[number].astype(float)
        # The first momentum is 1/10, then 2/11, ...: the start is soon forgotten.
        for step, weights in enumerate(passed, 1):
            momentum = min(0.5, step / (step + 9))
            mean = momentum * mean + (1 - momentum) * weights[number]
        np.testing.assert_allclose(found, mean, rtol=1e-4, atol=1e-6)
    along, model = passed, network()
    passed = []
    fitted(tmp_path / "plain", "fit.epochs=2", model=model, on_batch=on_batch)
    for expected, weights in zip(passed, along, strict=True):
        assert all((a == b).all() for a, b in zip(expected, weights, strict=True)), "the average is only looked at"


def test_a_training_that_diverges_says_so(tmp_path):
    with pytest.raises(DivergedError, match=r"epoch 1: .* take a smaller optimizer\.learning_rate"):
        fitted(tmp_path, "optimizer.kind=sgd", "optimizer.learning_rate=1e30")
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("finished")
    fitted(run, "fit.epochs=1", "fit.early_stopping=1")
    return {name: (run / name).read_bytes() for name in (CHECKPOINT, BEST)}


def damage(content, kind):
    middle = len(content) // 2
    return {
        "empty": b"",
        "cut": content[:middle],
        "text": b"damaged",
        "flipped": content[:middle] + bytes(255 - v for v in content[middle : middle + 64]) + content[middle + 64 :],
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "flipped"])
@pytest.mark.parametrize("name", [CHECKPOINT, BEST])
def test_a_damaged_checkpoint_is_named(tmp_path, finished, name, kind):
    for file, content in finished.items():
        (tmp_path / file).write_bytes(damage(content, kind) if file == name else content)
    with pytest.raises(DataError) as caught:
        fitted(tmp_path, "fit.epochs=1", "fit.early_stopping=1")
    assert str(caught.value).startswith(f"{tmp_path / name}: the checkpoint is damaged")
    assert f"remove {CHECKPOINT} and {BEST} to begin again" in str(caught.value)


@pytest.mark.parametrize(("width", "optimizer"), [(5, "adamw"), (4, "sgd")])
def test_a_checkpoint_of_another_training_is_named(tmp_path, finished, width, optimizer):
    (tmp_path / CHECKPOINT).write_bytes(finished[CHECKPOINT])
    with pytest.raises(DataError, match=r"checkpoint\.npz: the checkpoint is of another network or optimizer"):
        fitted(tmp_path, f"optimizer.kind={optimizer}", model=network(width))


def test_the_history_in_a_checkpoint_is_plain(finished, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(finished[CHECKPOINT])
    with np.load(tmp_path / CHECKPOINT) as held:
        (record,) = json.loads(str(held["history"]))
    measured = {"loss", "accuracy", "val_loss", "val_accuracy", "val_auc"}
    assert set(record) == {"epoch", "learning_rate", "seconds"} | measured
