"""Losses, weights of classes and decay, by hand."""

import keras
import numpy as np
import pytest

from wsi_idc.training.config import LossConfig, OptimizerConfig
from wsi_idc.training.fit import make_loss, make_optimizer

from fitted import network

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
