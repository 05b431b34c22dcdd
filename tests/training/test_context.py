import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from wsi_idc.data.kaggle import MISSING, LabelledPatch, place_patches
from wsi_idc.data.store import PatchArray
from wsi_idc.inference.symmetry import symmetry
from wsi_idc.models.architectures import (
    context_halo,
    context_mean,
    context_network,
    feature_encoder,
    separable_residual_cnn,
)
from wsi_idc.training.config import AugmentConfig, ContextConfig, FormationConfig, TrainConfig
from wsi_idc.training.context import (
    SectionFeatures,
    SectionWindows,
    context_logits,
    encode_sections,
    fit_context,
    fit_new_context,
    lone_logits,
)

HALO = 7


def patch(patient, row, col, label=0):
    return LabelledPatch(None, patient, col * 50 + 1, row * 50 + 1, label)


@pytest.fixture(scope="module")
def network():
    """A context network whose added part is no longer zero, as after training."""
    keras.utils.set_random_seed(0)
    model = context_network(5, width=8)
    added = model.get_layer("added")
    added.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in added.get_weights()])
    return model


def section(seed=0, rows=21, cols=19):
    rng = np.random.default_rng(seed)
    present = (rng.random((1, rows, cols, 1)) > 0.3).astype(np.float32)
    features = rng.normal(size=(1, rows, cols, 5)).astype(np.float32) * present
    return features, present, np.append(features.sum((1, 2)), present.sum((1, 2)), axis=1)


def test_it_begins_as_the_patches_own_logit_half_of_it_centred():
    features, present, slide = section()
    typical = np.arange(5.0)
    found = context_network(5, typical=typical).predict_on_batch([features, present, slide])
    # Sixteen typical patches are counted with those of the slide.
    mean = (slide[0, 4] + 16 * typical[4]) / (present.sum() + 16)
    np.testing.assert_allclose(found[..., 0], features[..., -1] - 0.5 * mean, atol=1e-5)


def test_absent_neighbours_are_masked(network):
    features, present, slide = section()
    before = network.predict_on_batch([features, present, slide])
    noise = np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
    after = network.predict_on_batch([np.where(present == 0, noise, features), present, slide])
    here = present[..., 0] == 1
    np.testing.assert_allclose(after[here], before[here], atol=1e-5)


def test_what_moves_all_features_of_a_slide_alike_is_taken_off():
    """But for the half of the own logit that stays as it is; typical patches add little to thousands of others."""
    keras.utils.set_random_seed(0)
    network = context_network(5, width=8)
    network.get_layer("added").set_weights([np.ones((8, 1)), np.zeros(1)])
    features, present, slide = section()
    slide = slide * 1e4
    moved = np.array([2, -1, 0.5, 3, 0], np.float32)
    sums = slide + np.append(moved, 0) * slide[:, -1:]
    before = network.predict_on_batch([features, present, slide])
    after = network.predict_on_batch([features + moved, present, sums])
    here = present[..., 0] == 1
    np.testing.assert_allclose(after[here], before[here], atol=2e-3)
    assert np.ptp(before[here] - features[here][:, -1:]) > 0.1


def test_a_slide_of_which_nothing_is_known_is_a_typical_one():
    keras.utils.set_random_seed(0)
    typical = np.array([1, 2, 3, 4, 5.0])
    network = context_network(5, width=8, typical=typical)
    features, present, slide = section()
    many = np.append(typical * 100, 100)[None]
    unknown = network.predict_on_batch([features, present, np.zeros_like(slide)])
    np.testing.assert_allclose(unknown, network.predict_on_batch([features, present, many]), atol=1e-5)


def test_it_sees_as_far_as_its_halo_and_no_farther(network):
    features, present, slide = section()
    present[0, 10, :, 0] = present[0, :, 9, 0] = 1
    before = network.predict_on_batch([features, present, slide])[0, ..., 0]
    changed = features.copy()
    changed[0, 10, 9] += 3
    difference = np.abs(network.predict_on_batch([changed, present, slide])[0, ..., 0] - before) > 1e-5
    rows, cols = np.nonzero(difference)
    assert max(np.abs(rows - 10).max(), np.abs(cols - 9).max()) == HALO


def test_the_encoder_gives_features_and_the_logit_last():
    classifier = separable_residual_cnn(widths=(4, 8))
    pixels = np.random.default_rng(0).integers(0, 256, (6, 50, 50, 3), dtype=np.uint8)
    encoder = feature_encoder(classifier)
    features = encoder.predict_on_batch(pixels)
    assert features.shape == (6, 9)
    np.testing.assert_allclose(features[:, -1], classifier.predict_on_batch(pixels)[:, 0], atol=1e-5)


def test_patches_are_placed_where_their_names_say():
    patches = [patch("a", 2, 3), patch("b", 0, 0), patch("a", 0, 1)]
    grids = place_patches(patches)
    assert grids["a"].tolist() == [[MISSING, 2, MISSING, MISSING], [MISSING] * 4, [MISSING, MISSING, MISSING, 0]]
    assert grids["b"].tolist() == [[1]]


def test_the_first_view_is_the_patches_as_they_are_and_the_others_differ(tmp_path):
    encoder = feature_encoder(separable_residual_cnn(widths=(4, 8)))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 50, 50, 3), dtype=np.uint8)
    data = PatchArray(pixels, [patch("ab"[n // 2], 0, n, n % 2) for n in range(4)], 0)
    views, config = [], TrainConfig(context=ContextConfig(variants=3))
    found = encode_sections(encoder, data, config, tmp_path, views.append)
    assert views == [1, 2, 3]
    np.testing.assert_allclose(found.variants[0], encoder.predict_on_batch(pixels), rtol=1e-2, atol=1e-3)
    assert np.abs(found.variants[0] - found.variants[1]).max() > 1e-3
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert {name: grid.tolist() for name, grid in found.grids.items()} == {"a": [[0, 1]], "b": [[-1, -1, 2, 3]]}

    def encodes_nothing(_pixels):
        raise AssertionError("encoded again")

    encoder.predict_on_batch = encodes_nothing
    again = encode_sections(encoder, data, config, tmp_path)
    np.testing.assert_array_equal(np.stack(again.variants), np.stack(found.variants))


def test_a_view_is_turned_and_stained_as_it_says(tmp_path):
    encoder = feature_encoder(separable_residual_cnn(widths=(4, 8)))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 50, 50, 3), dtype=np.uint8)
    data = PatchArray(pixels, [patch("a", 0, n) for n in range(3)], 0)
    none = AugmentConfig(stain_scale=0, stain_shift=0)
    config = TrainConfig(context=ContextConfig(variants=10), augment=none)
    found = encode_sections(encoder, data, config, tmp_path)
    for variant in range(10):
        turned = np.ascontiguousarray(symmetry(pixels, variant % 8, axes=(1, 2)))
        expected = encoder.predict_on_batch(turned)
        # Stains of factor 1 change pixels by rounding only.
        np.testing.assert_allclose(found.variants[variant], expected, rtol=2e-2, atol=5e-3)


def test_all_patches_of_a_section_are_formed_alike(tmp_path):
    """The same pixels at two places of a patient stay the same in every view, and another patient's do not."""
    encoder = feature_encoder(separable_residual_cnn(widths=(4, 8)))
    one = np.random.default_rng(0).integers(0, 256, (1, 50, 50, 3), dtype=np.uint8)
    data = PatchArray(np.repeat(one, 4, axis=0), [patch("ab"[n // 2], 0, n, n % 2) for n in range(4)], 0)
    formation = FormationConfig(share=1.0, noise=0.0)
    config = TrainConfig(context=ContextConfig(variants=4), formation=formation)
    found = encode_sections(encoder, data, config, tmp_path)
    for view in found.variants[1:]:
        np.testing.assert_array_equal(view[0], view[1])
        assert np.abs(view[0] - view[2]).max() > 1e-3


@pytest.fixture(scope="module")
def numbered():
    """Sections whose one feature is the number of the patch, whose label is the parity of its row, in two views."""
    patches = [patch("big", r, c, r % 2) for r in range(12) for c in range(9) if (r, c) != (4, 4)]
    patches += [patch("few", 3 * n, n, 1) for n in range(4)]
    numbers = np.arange(1, len(patches) + 1, dtype=np.float16)[:, None]
    return SectionFeatures(place_patches(patches), np.array([p.label for p in patches]), [numbers, -numbers])


def test_windows_hold_patches_with_their_own_labels(numbered):
    windows = SectionWindows(numbered, ContextConfig(steps=12, batch_size=6, side=5))
    assert len(windows) == 12
    seen = set()
    for index in range(12):
        (features, present, _), labels, weights = windows[index]
        assert features.shape == (6, 5, 5, 1)
        assert (weights == present[..., 0]).all()
        assert (features[present == 0] == 0).all()
        here = present[..., 0] == 1
        numbers = np.abs(features[here][:, 0]).astype(int) - 1
        assert (labels[here][:, 0] == numbered.labels[numbers]).all()
        seen |= set(numbers.tolist())
    assert len(seen) > 90
    again = SectionWindows(numbered, ContextConfig(steps=12, batch_size=6, side=5))[7]
    np.testing.assert_array_equal(again[0][0], windows[7][0][0])


def test_the_slide_of_a_window_is_all_its_patches_or_some(numbered):
    windows = SectionWindows(numbered, ContextConfig(steps=20, batch_size=6, side=5))
    whole = {tuple(numbered.slide(numbered.rows(p), v)) for p in numbered.grids for v in (0, 1)}
    slides = [slide for index in range(20) for slide in windows[index][0][2]]
    assert 0.3 < np.mean([tuple(s) in whole for s in slides]) < 0.8
    counts = [int(s[-1]) for s in slides if tuple(s) not in whole]
    assert min(counts) <= 3
    assert max(counts) >= 30
    # The numbers of patches are positive in view 0 and negative in view 1, and none is counted twice.
    assert all(abs(s[0]) >= n * (n + 1) / 2 for s in slides if (n := int(s[-1])))


def test_a_sparse_window_has_its_slide_without_the_same_patches(numbered):
    """With IDC patches taken out, neither the window nor the sums of its slide hold more of them than are left."""
    windows = SectionWindows(numbered, ContextConfig(steps=30, batch_size=6, side=12, sparse=1.0))
    idc = {n + 1 for n in numbered.rows("big").tolist() if numbered.labels[n]}
    free = idc_free_slides = 0
    whole = len(numbered.rows("big"))
    for index in range(30):
        (features, _, slides), _, _ = windows[index]
        for window, slide in zip(features[..., 0], slides, strict=True):
            shown = set(np.abs(window[window != 0]).astype(int).tolist())
            if shown <= set(range(1, whole + 1)):
                free += not shown & idc
                idc_free_slides += int(slide[-1]) == whole - len(idc)
                assert slide[-1] <= whole
    assert free > 30
    assert idc_free_slides > 15


def test_a_view_of_a_section_is_turned_as_its_patches_were(numbered):
    """In view 1 patches are turned by symmetry 1; their places must be as well, or neighbours would not fit."""
    windows = SectionWindows(numbered, ContextConfig(steps=40, batch_size=4, side=5))
    turned = symmetry(numbered.grids["big"], 1)
    checked = 0
    for index in range(40):
        (features, _, _), _, _ = windows[index]
        for window in features[..., 0]:
            row, col = np.nonzero((window[:, :-1] < 0) & (window[:, 1:] < 0))
            for r, c in zip(row, col, strict=True):
                left, right = int(-window[r, c]) - 1, int(-window[r, c + 1]) - 1
                place = np.argwhere(turned == left)
                if len(place):
                    y, x = place[0]
                    assert turned[y, x + 1] == right
                    checked += 1
    assert checked > 50


def test_fitting_learns_what_neighbours_tell():
    """Own features are noise and the label is what most neighbours show: only the context can tell."""
    rng = np.random.default_rng(0)
    patches, values = [], []
    for n in range(12):
        middle = rng.integers(4, 12, 2)
        for r in range(16):
            for c in range(16):
                label = int(np.hypot(r - middle[0], c - middle[1]) < 4)
                patches.append(patch(str(n), r, c, label))
                values.append([label + rng.normal(0, 1.5), 0.0])
    features = SectionFeatures(
        place_patches(patches), np.array([p.label for p in patches]), [np.array(values, np.float16)]
    )
    config = ContextConfig(steps=100, batch_size=8, side=16, learning_rate=5e-3)
    fitted = fit_context(context_network(2, width=8, dropout=0.0), features, config)
    logits = context_logits(fitted, features)
    alone = roc_auc_score(features.labels, np.array(values)[:, 0])
    assert alone < 0.75
    assert roc_auc_score(features.labels, logits) > alone + 0.1


def test_without_steps_the_network_stays(numbered):
    model = context_network(1, width=4)
    before = model.get_weights()
    after = fit_context(model, numbered, ContextConfig(steps=0)).get_weights()
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_fitted_again_it_is_the_same(numbered):
    fitted = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        model = context_network(1, width=4, dilations=(1,))
        fit_context(model, numbered, ContextConfig(steps=4, batch_size=2, side=5))
        fitted.append(model.get_weights())
    assert all((a == b).all() for a, b in zip(*fitted, strict=True))
    assert (model.get_layer("added").get_weights()[0] != 0).any()


def test_every_patch_gets_its_logit(numbered):
    """A fresh network gives the patch's own logit, here its number, less half the mean of its slide."""
    found = context_logits(context_network(1, width=4), numbered)
    own = np.arange(1, len(found) + 1)
    big = len(own) - 4
    mean = np.where(own <= big, own[:big].sum() / (big + 16), own[big:].sum() / (4 + 16))
    np.testing.assert_allclose(found, own - mean / 2, rtol=1e-3)


def test_members_are_fitted_apart_and_their_logits_averaged(numbered):
    settings = {"steps": 4, "batch_size": 2, "side": 5, "width": 4, "dilations": (1, 2)}
    alone = [fit_new_context(numbered, ContextConfig(**settings, seed=seed)) for seed in (3, 4)]
    expected = np.mean([context_logits(m, numbered) for m in alone], axis=0)
    both = fit_new_context(numbered, ContextConfig(**settings, seed=3, members=2))
    np.testing.assert_allclose(context_logits(both, numbered), expected, rtol=1e-5)
    assert np.ptp([context_logits(m, numbered) for m in alone], axis=0).max() > 0
    assert context_halo(both) == context_halo(alone[0]) == 3


def test_a_lone_patch_is_one_without_neighbours(network):
    features, _, _ = section()
    values = features.reshape(-1, 5)[:7].astype(np.float16)
    data = SectionFeatures({"a": np.arange(7)[None]}, np.zeros(7), [values])
    far = np.zeros((1, 1, 7 * 40, 5), np.float32)
    present = np.zeros((1, 1, 7 * 40, 1), np.float32)
    far[0, 0, ::40], present[0, 0, ::40] = values, 1
    expected = network.predict_on_batch([far, present, data.slide(np.arange(7), 0)[None]])[0, 0, ::40, 0]
    np.testing.assert_allclose(lone_logits(context_mean([network]), data), expected, rtol=1e-4, atol=1e-5)
