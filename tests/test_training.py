import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.training.augment import StainChange, augment, change_stain, symmetries
from wsi_idc.training.calibrate import fit_temperature, fit_threshold, probabilities


def pixels_of(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)


def test_symmetries_are_the_eight_of_the_square_drawn_evenly():
    patch = pixels_of(1)[0]
    eight = {np.rot90(p, k).tobytes() for p in (patch, patch[:, ::-1]) for k in range(4)}
    drawn = [p.tobytes() for p in symmetries(np.repeat(patch[None], 4000, 0), np.random.default_rng(1))]
    assert set(drawn) == eight
    assert len(eight) == 8
    assert min(drawn.count(p) for p in eight) > 400


def test_stain_change_of_nothing_changes_nothing():
    pixels = pixels_of(20)
    same = change_stain(pixels, StainChange.draw(20, np.random.default_rng(0), scale=0, shift=0))
    assert np.abs(same.astype(int) - pixels).max() <= 1


def test_stain_change_keeps_white_white_and_changes_stain():
    pixels = np.full((50, 4, 4, 3), 255, np.uint8)
    rng = np.random.default_rng(0)
    assert change_stain(pixels, StainChange.draw(50, rng, shift=0)).min() >= 254
    pink = np.broadcast_to(np.array([220, 140, 180], np.uint8), (50, 4, 4, 3))
    jittered = change_stain(pink, StainChange.draw(50, rng))
    assert len({tuple(p[0, 0]) for p in jittered}) > 40
    assert np.abs(jittered.mean((0, 1, 2)) - pink[0, 0, 0]).max() < 12, "on average the stain stays what it was"


def test_augmentation_depends_on_the_generator_only():
    pixels = pixels_of(16)
    first, again, other = (augment(pixels, np.random.default_rng(s)) for s in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()
    assert first.shape == pixels.shape


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 3.0), st.integers(0, 1000))
def test_temperature_is_recovered(true, seed):
    """Labels drawn from sigmoid(logit / T) are best described by T."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, 40_000)
    labels = rng.random(40_000) < probabilities(logits, true)
    assert fit_temperature(logits, labels.astype(np.uint8)) == pytest.approx(true, rel=0.1)


def test_threshold_with_the_highest_f1_by_hand():
    probability = np.array([0.1, 0.2, 0.3, 0.4, 0.8, 0.9])
    labels = np.array([0, 0, 1, 0, 1, 1])
    # >= 0.3: TP 3, FP 1, FN 0, F1 6/7; >= 0.8: TP 2, FN 1, F1 4/5.
    assert fit_threshold(probability, labels) == 0.3


def test_fit_learns_and_resumes_where_it_stopped(tmp_path):
    from wsi_idc.models.architectures import ARCHITECTURES
    from wsi_idc.training.fit import FitConfig, fit

    rng = np.random.default_rng(0)
    labels = (np.arange(64) % 2).astype(np.uint8)
    pixels = rng.integers(0, 100, (64, 50, 50, 3), dtype=np.uint8) + labels[:, None, None, None] * np.uint8(150)

    def build():
        return ARCHITECTURES["separable_residual_cnn"](widths=(4, 8))

    config = FitConfig(epochs=3, batch_size=16, learning_rate=1e-2)
    fit(build(), pixels, labels, tmp_path / "run", config)
    losses = [float(line.split(",")[1]) for line in (tmp_path / "run" / "log.csv").read_text().splitlines()[1:]]
    assert len(losses) == 3
    assert losses[-1] < losses[0]

    resumed = fit(build(), pixels, labels, tmp_path / "run", config)
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 4, "a finished run is not trained again"
    assert resumed.predict(pixels[:2], verbose=0).shape == (2, 1)


def test_batches_of_an_epoch_are_the_same_for_the_same_seed_and_cover_the_data():
    from wsi_idc.training.fit import AugmentedPatches, FitConfig

    pixels, labels = np.zeros((40, 50, 50, 3), np.uint8), np.arange(40) % 256
    first, again = (AugmentedPatches(pixels, labels, FitConfig(batch_size=8)) for _ in range(2))
    order = np.concatenate([first[i][1][:, 0] for i in range(len(first))])
    assert sorted(order) == list(range(40))
    assert (order == np.concatenate([again[i][1][:, 0] for i in range(5)])).all()
    first.on_epoch_end()
    assert (order != np.concatenate([first[i][1][:, 0] for i in range(5)])).any()
    later = AugmentedPatches(pixels, labels, FitConfig(batch_size=8), epoch=1)
    assert (later[0][1] == first[0][1]).all(), "resuming at an epoch gives that epoch's batches"


@pytest.mark.parametrize(("shift", "extra"), [(0.01, False), (0.0, True)])
def test_a_package_whose_engines_disagree_is_refused(monkeypatch, shift, extra):
    """In values, or in form: an exporter that adds a dimension would pass a comparison that broadcasts."""
    from wsi_idc.errors import ModelError
    from wsi_idc.training import package

    from helpers import NumpyEngine, numpy_package

    class Exported(NumpyEngine):
        def run(self, network, *inputs):
            found = super().run(network, *inputs)
            if network == "context":
                found = found[:, None] if extra else found + shift
            return found

    engines = {"onnx": lambda p: Exported(p.halo), "keras": lambda p: NumpyEngine(p.halo)}
    monkeypatch.setattr(package, "ENGINES", engines | {"onnx": engines["keras"]})
    package._compare_engines(numpy_package(halo=2))
    monkeypatch.setattr(package, "ENGINES", engines)
    with pytest.raises(ModelError, match="other probabilities"):
        package._compare_engines(numpy_package(halo=2))
