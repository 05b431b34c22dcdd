"""What is shown of the patches, in which order, and with which weights and labels."""

import numpy as np
import pytest

from wsi_idc.data.kaggle import LabelledPatch
from wsi_idc.data.store import PatchArray
from wsi_idc.errors import DataError
from wsi_idc.training.augmentation.batches import Batches, TrainingSet, soft_labels
from wsi_idc.training.config import override, read_config

from fitted import SIZE, SMALL, array
from helpers import listed

TRAINING = array(np.arange(44) % 2)


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
