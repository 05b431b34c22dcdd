import numpy as np
import pytest

from wsi_idc.data.kaggle import LabelledPatch
from wsi_idc.data.store import PatchArray
from wsi_idc.inference.familiar import TRAITS, compare_slide
from wsi_idc.training.config import read_config
from wsi_idc.training.familiar import familiar_slides


def slides(names, seed):
    """Twenty-two patches of each slide, of blobs, each slide with a stain of its own."""
    rng = np.random.default_rng(seed)
    pixels, patches = [], []
    for name in names:
        blobs = rng.integers(90, 230, (22, 25, 25, 3)) * rng.uniform(0.92, 1.05)
        pixels.append(np.repeat(np.repeat(blobs, 2, axis=1), 2, axis=2).astype(np.uint8))
        patches += [LabelledPatch(None, name, 50 * n + 1, 1, n % 2) for n in range(22)]
    return PatchArray(np.concatenate(pixels), patches, 0)


@pytest.mark.parametrize("share", [0.0, 0.85])
def test_slides_like_those_of_training_are_not_warned_of(share):
    config = read_config(None, [f"formation.share={share}"])
    training, held = slides([f"t{n}" for n in range(12)], 0), slides(["h0", "h1"], 1)
    features = [[np.random.default_rng(n).normal(size=(len(data), 4))] for n, data in enumerate((training, held))]
    found = familiar_slides(training, held, tuple(features), config)
    assert len(found["pixels"]["centre"]) == len(TRAITS)
    assert len(found["features"]["centre"]) == 4
    # As they are, and with formation in three other forms.
    assert len(found["pixels"]["distances"]) == 12 * (4 if share else 1)
    own = held.pixels[:22]
    assert compare_slide(found, own, features[1][0][:22].mean(axis=0)).warnings == ()


def test_of_too_few_slides_nothing_is_kept():
    few = slides(["a", "b"], 0)
    views = [np.zeros((len(few), 4))]
    assert familiar_slides(few, few, (views, views), read_config(None)) is None
