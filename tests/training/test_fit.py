import json
import math

import keras
import numpy as np
import pytest

from wsi_idc.data.kaggle import LabelledPatch
from wsi_idc.data.store import PatchArray
from wsi_idc.errors import DataError, DivergedError
from wsi_idc.training.augmentation.batches import Batches, TrainingSet, soft_labels
from wsi_idc.training.config import LossConfig, OptimizerConfig, override, read_config
from wsi_idc.training.fit import BEST, CHECKPOINT, fit, make_loss, make_optimizer, predict_logits

from helpers import dark_and_bright, listed

SIZE = 8
SMALL = ["fit.batch_size=8", "fit.epochs=4", "optimizer.learning_rate=0.02"]


def array(labels, seed=0, told=None):
    """Patches by label; `told` are other labels to be told in their place."""
    labels = np.asarray(labels)
    return PatchArray(dark_and_bright(labels, SIZE, seed), listed(labels if told is None else told, size=SIZE), 0)


TRAINING = array(np.arange(44) % 2)
VAL = array(np.arange(20) % 2, seed=1)
# Nothing to learn: the validation loss goes up and down.
CHANCE = array(np.arange(20) % 2, seed=2, told=np.random.default_rng(0).permutation(np.arange(20) % 2))


def network(width=4):
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = layers.Conv2D(width, 3, use_bias=False)(layers.Rescaling(1 / 127.5, offset=-1.0)(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Activation("relu")(layers.BatchNormalization()(x)))
    return keras.Model(inputs, layers.Dense(1, name="logits")(layers.Dropout(0.3)(x)))


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


LOGITS = np.array([[-3.0], [-0.5], [0.0], [0.7], [4.0]], np.float32)
TRUE = np.array([[0], [1], [1], [0], [1]], np.float32)


def test_losses_by_hand():
    odds = 1 / (1 + np.exp(-LOGITS))
    right = np.where(TRUE == 1, odds, 1 - odds)
    plain, focal, smooth = (
        float(make_loss(LossConfig(**options))(TRUE, LOGITS))
        for options in ({}, {"kind": "focal", "gamma": 2.0}, {"label_smoothing": 0.2})
    )
    assert plain == pytest.approx(-np.log(right).mean(), rel=1e-5)
    assert focal == pytest.approx(-((1 - right) ** 2 * np.log(right)).mean(), rel=1e-4)
    told = TRUE * 0.8 + 0.1
    assert smooth == pytest.approx(-(told * np.log(odds) + (1 - told) * np.log(1 - odds)).mean(), rel=1e-5)


def test_focal_loss_with_gamma_0_is_cross_entropy():
    found = make_loss(LossConfig(kind="focal", gamma=0.0))(TRUE, LOGITS)
    assert float(found) == pytest.approx(float(make_loss(LossConfig())(TRUE, LOGITS)), rel=1e-5)


@pytest.mark.parametrize("kind", ["adamw", "adagrad", "sgd"])
def test_only_kernels_decay(kind):
    """Without gradients kernels shrink by learning rate times decay; biases and normalisations stay."""
    model = network()
    optimizer = make_optimizer(OptimizerConfig(kind=kind, learning_rate=0.1, weight_decay=0.5))
    optimizer.build(model.trainable_variables)
    before = [keras.ops.convert_to_numpy(v) + 0.5 for v in model.trainable_variables]
    for variable, value in zip(model.trainable_variables, before, strict=True):
        variable.assign(value)
    optimizer.apply([keras.ops.zeros_like(v) for v in model.trainable_variables])
    pairs = zip(model.trainable_variables, before, strict=True)
    shrunk = {v.name: keras.ops.convert_to_numpy(v) / b for v, b in pairs}
    for name, ratio in shrunk.items():
        np.testing.assert_allclose(ratio, 0.95 if name == "kernel" else 1.0, rtol=1e-5)
    assert set(shrunk) == {"kernel", "gamma", "beta", "bias"}


def test_balanced_weights_by_hand():
    training = array([0, 0, 0, 1, 0, 0, 1, 0])
    config = read_config(None, ["fit.batch_size=8", "loss.class_weights=balanced"])
    _, labels, weights = Batches(TrainingSet.of(training, config), config, 0)[0]
    # 8 patches, 6 and 2: 8 / (2 * 6) and 8 / (2 * 2); they add up to 8.
    assert weights[labels[:, 0] == 0] == pytest.approx([2 / 3] * 6)
    assert weights[labels[:, 0] == 1] == pytest.approx([2.0] * 2)
    config = read_config(None, ["fit.batch_size=8"])
    assert Batches(TrainingSet.of(training, config), config, 0)[0][2].tolist() == [1.0] * 8


def test_batches_depend_on_seed_and_epoch_and_cover_the_data():
    numbered = PatchArray(np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(3, -1), listed([0, 1] * 20), 0)
    settings = ["fit.batch_size=8", "augment.stain_scale=0", "augment.stain_shift=0"]

    def epoch(number, *more):
        config = read_config(None, [*settings, *more])
        batches = Batches(TrainingSet.of(numbered, config), config, number)
        pixels, labels, _ = zip(*(batches[i] for i in range(len(batches))), strict=True)
        found = np.concatenate(pixels)[:, 0, 0, 0].tolist()
        assert np.concatenate(labels)[:, 0].tolist() == [n % 2 for n in found]
        return found

    assert sorted(epoch(0)) == list(range(40))
    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1)
    assert epoch(0) != epoch(0, "fit.seed=2")
    assert len(epoch(0, "fit.batch_size=16")) == 32, "whole batches only"


@pytest.mark.parametrize(
    ("labels", "fault"),
    [([1] * 9, "all 9 training patches are of class 1; both are needed"), ([0, 1] * 3, "6 training patches are fewer")],
)
def test_nothing_to_learn(labels, fault):
    with pytest.raises(DataError, match=fault):
        TrainingSet.of(array(labels), read_config(None, SMALL))


def test_stains_are_estimated_only_where_they_are_exchanged():
    config = read_config(None, [*SMALL, "augment.macenko=0.5"])
    assert TrainingSet.of(TRAINING, read_config(None, SMALL)).stains == {}
    rng = np.random.default_rng(0)
    amounts = rng.uniform(0, 1.2, (128, SIZE, SIZE, 2))
    colours = np.array([[0.65, 0.70, 0.29], [0.27, 0.68, 0.68]])
    pixels = (240 * np.exp(-amounts @ colours)).astype(np.uint8)
    pixels[np.arange(128) % 4 == 3] = 250
    found = TrainingSet.of(PatchArray(pixels, listed([0, 1] * 64, size=SIZE), 0), config)
    assert set(found.stains) == {"0", "1", "2"}, "the fourth patient is glass"


def test_consistency_adds_the_divergence_between_the_two_forms():
    """By hand: logits 0 and 2 of one patch, labelled 1, say 0.5 and 0.8808."""
    labels, logits = np.array([[1.0], [1.0]], np.float32), np.array([[0.0], [2.0]], np.float32)
    own = np.array([np.log(2), np.log1p(np.exp(-2))])
    q, p = 0.5, 1 / (1 + np.exp(-2))
    # What the first says, 0.5, against the second, and the other way round.
    apart = [
        p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)),
        q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p)),
    ]
    for weight in (0.0, 0.5):
        loss = make_loss(LossConfig(consistency=weight))
        found = float(keras.ops.convert_to_numpy(loss(labels, logits)))
        assert found == pytest.approx((own + weight * np.array(apart)).mean(), rel=1e-5)


def test_a_batch_with_consistency_has_every_patch_in_two_forms():
    config = read_config(None, [*SMALL, "loss.consistency=1.0", "augment.symmetries=false"])
    plain = override(config, {"augment.stain_scale": 0.0, "augment.stain_shift": 0.0})
    pixels, _, _ = Batches(TrainingSet.of(TRAINING, plain), plain, 0)[0]
    assert len(pixels) == 8
    assert (pixels[:4] == pixels[4:]).all()
    batches = Batches(TrainingSet.of(TRAINING, config), config, 0)
    pixels, labels, _ = batches[0]
    assert (pixels[:4] != pixels[4:]).any(axis=(1, 2, 3)).all()
    assert (labels[:4] == labels[4:]).all()
    # An epoch sees each patch twice.
    assert len(batches) == len(TRAINING) // 4


def test_labels_soften_towards_an_edge_only():
    """A section of 5x5, its left two columns IDC; and a lone IDC patch."""
    places = [LabelledPatch(None, "a", 50 * c + 1, 50 * r + 1, int(c < 2)) for r in range(5) for c in range(5)]
    places.append(LabelledPatch(None, "b", 1, 1, 1))
    data = PatchArray(np.zeros((26, 50, 50, 3), np.uint8), places, 0)
    soft = soft_labels(data, 0.3)
    section = soft[:25].reshape(5, 5)
    # Inside, a third of the neighbourhood of the second column is not IDC.
    np.testing.assert_allclose(section[2], [1.0, 0.7 + 0.3 * 2 / 3, 0.3 / 3, 0.0, 0.0], atol=1e-6)
    # Corners have four of nine patches around them known, too few; the lone patch has itself.
    assert section[0, 0] == 1.0
    assert soft[25] == 1.0
    assert (soft_labels(data, 0.0) == data.labels).all()
