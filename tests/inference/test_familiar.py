import json

import numpy as np
import pytest

from wsi_idc.base.formation import blur, retone, sharpen
from wsi_idc.inference.familiar import LEAST_PATCHES, TRAITS, Familiar, compare_slide, sample, traits


def slide(seed, n=24):
    """Patches of blobs of purple on pink, of a slide with a stain of its own."""
    rng = np.random.default_rng(seed)
    stain = rng.uniform(0.92, 1.08)
    coarse = rng.integers(90, 230, (n, 25, 25, 3))
    pixels = np.repeat(np.repeat(coarse, 2, axis=1), 2, axis=2)
    return np.clip(pixels * stain, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def known():
    own = np.array([traits(slide(seed)) for seed in range(60)])
    held = np.array([traits(slide(seed)) for seed in range(60, 90)])
    features = np.random.default_rng(0).normal(size=(90, 3))
    found = {"pixels": Familiar.fit(own, held), "features": Familiar.fit(features[:60], features[60:])}
    return json.loads(json.dumps({name: one.document() for name, one in found.items()}))


def changed(change, seed=99):
    return np.stack([change(patch) for patch in slide(seed)])


def test_each_trait_has_a_name_and_words():
    assert traits(slide(0)).shape == (len(TRAITS),)
    assert np.isfinite(traits(np.full((24, 50, 50, 3), 255, np.uint8))).all()


def test_a_slide_like_those_of_training_is_not_warned_of(known):
    flagged = [bool(compare_slide(known, slide(seed), np.zeros(3)).warnings) for seed in range(100, 150)]
    assert np.mean(flagged) <= 0.1
    found = compare_slide(known, slide(100), np.zeros(3))
    assert 0 <= found.pixels <= 100
    assert found.features < 50


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: blur(p, 1.5), "softer"),
        (lambda p: sharpen(p, 0.5, 0.5), "sharper"),
        (lambda p: retone(p, gain=0.5), "darker"),
        (lambda p: retone(p, gamma=0.4), "flatter"),
    ],
)
def test_what_is_unlike_is_named(known, change, words):
    found = compare_slide(known, changed(change), np.zeros(3))
    assert found.pixels == 100
    (warning,) = found.warnings
    assert warning == f"{words} than the slides that the model was trained on"


def test_features_far_away_are_warned_of(known):
    found = compare_slide(known, slide(100), np.array([9.0, 0.0, 0.0]))
    assert found.features == 100
    assert "by what the model sees of its tissue" in found.warnings[-1]


def test_of_few_patches_nothing_is_said(known):
    assert compare_slide(known, slide(0)[: LEAST_PATCHES - 1], np.zeros(3)) is None


def test_at_most_three_in_a_hundred_are_beyond_the_limit():
    rng = np.random.default_rng(0)
    own, held = rng.normal(size=(500, 5)), rng.normal(size=(200, 5)) * 1.2
    found = Familiar.fit(own, held)
    assert np.mean([found.distance(v) > found.limit for v in own]) <= 0.03
    assert np.mean([found.distance(v) > found.limit for v in held]) <= 0.03


def test_the_distance_is_mahalanobis_of_what_varies():
    """Two traits that vary by 1 and by 10: a step of 10 is far in the first and near in the second."""
    rng = np.random.default_rng(0)
    found = Familiar.fit(rng.normal(size=(4000, 2)) * [1, 10], np.empty((0, 2)))
    assert found.distance(np.add(found.centre, [10, 0])) == pytest.approx(10, rel=0.05)
    assert found.distance(np.add(found.centre, [0, 10])) == pytest.approx(1, rel=0.05)
    assert found.percentile(found.centre) == 0


def test_a_sample_is_even_and_bounded():
    assert sample(list(range(5))) == [0, 1, 2, 3, 4]
    drawn = sample(list(range(1000)))
    assert len(drawn) == 256
    assert np.ptp(np.diff(drawn)) <= 1
