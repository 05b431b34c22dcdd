import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.training.augmentation.augment import StainChange, Stains, augment, change_stain, symmetries
from wsi_idc.training.config import AugmentConfig

NONE = {"symmetries": False, "stain_scale": 0, "stain_shift": 0}
# Optical densities of red, green and blue by a unit of haematoxylin and of eosin, in two laboratories.
BLUE = np.array([[0.65, 0.70, 0.29], [0.27, 0.68, 0.68]]).T
PURPLE = np.array([[0.55, 0.75, 0.37], [0.10, 0.85, 0.52]]).T


class Highest(np.random.Generator):
    """Draws the upper end of every range."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def uniform(self, low=0.0, high=1.0, size=None):
        return np.full(size, high, float)


def pixels_of(n, seed=0, size=6):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def changed(pixels, **amounts):
    return augment(pixels, AugmentConfig(**NONE | amounts), Highest())


def stained(colours, n=4, size=40, seed=0, strength=1.0):
    """Patches of a tissue that has both stains in all shares, and some glass."""
    rng = np.random.default_rng(seed)
    amounts = rng.uniform(0, 1.2, (n, size, size, 2)) * strength
    amounts[:, :4] = 0
    return np.clip(240 * np.exp(-amounts @ colours.T), 0, 255).astype(np.uint8)


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


def test_no_augmentation_is_the_identity():
    pixels = pixels_of(9)
    np.testing.assert_array_equal(augment(pixels, AugmentConfig(**NONE), np.random.default_rng(0)), pixels)


AMOUNTS = st.fixed_dictionaries(
    {},
    optional={
        "symmetries": st.booleans(),
        "rotation": st.floats(0, 180),
        "zoom": st.floats(0, 0.5),
        "shift": st.floats(0, 0.5),
        "shear": st.floats(0, 30),
        "brightness": st.floats(0, 0.5),
        "contrast": st.floats(0, 0.5),
        "stain_scale": st.floats(0, 0.5),
        "stain_shift": st.floats(0, 0.2),
    },
)


@settings(max_examples=20)
@given(AMOUNTS, st.integers(0, 99))
def test_it_depends_on_the_generator_only_and_keeps_form(amounts, seed):
    pixels, config = pixels_of(5, size=7), AugmentConfig(**amounts)
    before = pixels.copy()
    first, again = (augment(pixels, config, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.shape, first.dtype) == (pixels.shape, np.uint8)
    np.testing.assert_array_equal(pixels, before, "the patches themselves stay as they are")


def test_other_draws_give_other_pixels():
    pixels = pixels_of(16)
    first, other = (augment(pixels, AugmentConfig(), np.random.default_rng(s)) for s in (5, 6))
    assert (first != other).any()


@pytest.mark.parametrize("size", [8, 9])
def test_a_quarter_turn_is_that_of_numpy(size):
    pixels = pixels_of(3, size=size)
    turned = changed(pixels, rotation=90)
    assert any((turned == np.rot90(pixels, k, axes=(1, 2))).all() for k in (1, 3))
    np.testing.assert_array_equal(changed(pixels, rotation=180), np.rot90(pixels, 2, axes=(1, 2)))


def test_a_shift_moves_whole_pixels_and_mirrors_at_the_edge():
    pixels = pixels_of(2, size=8)
    moved = changed(pixels, shift=0.25)
    mirrored = np.pad(pixels, ((0, 0), (0, 2), (0, 2), (0, 0)), mode="symmetric")
    np.testing.assert_array_equal(moved, mirrored[:, 2:, 2:])


def test_zoom_is_about_the_middle():
    pixels = pixels_of(2, size=9)
    # 3 pixels of the patch on 2 of the outcome: what is 3 from the middle comes to 2 from it.
    np.testing.assert_array_equal(changed(pixels, zoom=0.5)[:, 2:7:2, 2:7:2], pixels[:, 1:8:3, 1:8:3])


def test_shear_moves_rows_by_half_their_distance_from_the_middle():
    pixels = pixels_of(2, size=9)
    sheared = changed(pixels, shear=float(np.rad2deg(np.arctan(0.5))))
    for row in (0, 2, 4, 6, 8):
        moved = (row - 4) // 2
        inside = [c for c in range(9) if 0 <= c + moved < 9]
        np.testing.assert_array_equal(sheared[:, row, inside], pixels[:, row, [c + moved for c in inside]])


def test_all_at_once_is_shear_after_zoom_and_turn_after_shear():
    """Patches whose red is their column and green their row tell where each pixel came from."""
    size = 41
    row, column = np.mgrid[:size, :size]
    patch = np.stack([5 * column + 25, 5 * row + 25, 0 * row], axis=-1).astype(np.uint8)
    amounts = {"rotation": 20.0, "shear": 15.0, "zoom": 0.2, "shift": 0.05}

    class Known(Highest):
        """Draws a third of the upper end for the columns, and half of it for the rows."""

        def uniform(self, low=0.0, high=1.0, size=None):
            drawn = np.full(size, high / 3, float)
            if size == (2, 1):
                drawn[1] = high / 2
            return drawn

    found = augment(patch[None], AugmentConfig(**NONE | amounts), Known())[0].astype(float)
    turn, slant = np.deg2rad(20 / 3), np.tan(np.deg2rad(5))
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = turned @ np.array([[1, slant], [0, 1]]) @ np.diag([1.2 ** (1 / 3), 1.2 ** (1 / 2)])
    shift = 0.05 * size * np.array([1 / 3, 1 / 2])
    for y, x in ((20, 20), (12, 20), (20, 12), (10, 30), (29, 11)):
        source = matrix @ (x - 20, y - 20) + 20 + shift
        np.testing.assert_allclose((found[y, x, :2] - 25) / 5, source, atol=0.11)


def test_colour_by_hand():
    pixels = np.full((1, 4, 4, 3), 100, np.uint8)
    pixels[:, :2] = 200
    # About the mean of 150, 1.5 times the difference; a tenth of full scale more.
    for amounts, dark, bright in (
        ({"contrast": 0.5}, 75, 225),
        ({"brightness": 0.1}, 126, 226),
        ({"contrast": 0.5, "brightness": 0.1}, 100, 250),
        ({"contrast": 0.9, "brightness": 0.1}, 80, 255),
    ):
        found = changed(pixels, **amounts)
        assert set(found[:, 2:].ravel().tolist()) == {dark}
        assert set(found[:, :2].ravel().tolist()) == {bright}


def test_stains_are_estimated():
    for colours in (BLUE, PURPLE):
        found = Stains.of(stained(colours))
        np.testing.assert_allclose(found.colours, colours / np.linalg.norm(colours, axis=0), atol=0.06)
        # Their strengths are the 99th percentile of amounts between 0 and 1.2.
        np.testing.assert_allclose(found.strengths, 1.19 * np.linalg.norm(colours, axis=0), rtol=0.1)


def test_to_itself_nothing_changes():
    own = Stains.of(stained(BLUE))
    np.testing.assert_allclose(own.to(own), np.eye(3), atol=1e-6)


def test_from_one_to_the_other_colours_and_strengths_are_the_others():
    own, other = Stains(BLUE, np.array([1.0, 0.5])), Stains(PURPLE, np.array([2.0, 2.0]))
    amounts = np.random.default_rng(0).uniform(0, 1, (50, 2))
    density = amounts @ BLUE.T
    np.testing.assert_allclose(density @ own.to(other), (amounts * [2, 4]) @ PURPLE.T, atol=1e-5)
    np.testing.assert_allclose(density @ own.to(other) @ other.to(own), density, atol=1e-5)
    neither = np.cross(*BLUE.T)
    np.testing.assert_allclose(neither @ own.to(other), neither, atol=1e-5)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((4, 40, 40, 3), 250, np.uint8),
        np.full((4, 40, 40, 3), 206, np.uint8),
        np.full((4, 40, 40, 3), 100, np.uint8),
        stained(BLUE, n=1, size=20),
        stained(np.stack([BLUE[:, 0]] * 2, axis=1)),
    ],
    ids=["glass", "pale", "one colour", "few pixels", "one stain"],
)
def test_where_two_stains_are_not_seen_none_are_estimated(pixels):
    assert Stains.of(pixels) is None


def test_a_share_of_patches_gets_the_stains_of_another_patient():
    blue, purple = stained(BLUE), stained(PURPLE, strength=0.7)
    stains = {"a": Stains.of(blue), "b": Stains.of(purple)}
    config = AugmentConfig(**NONE | {"macenko": 1.0})
    patients = np.array(["a"] * 40)
    pixels = np.repeat(blue[:1], 40, axis=0)
    found = augment(pixels, config, np.random.default_rng(0), patients, stains)
    own = np.abs(found.astype(int) - pixels).max((1, 2, 3)) <= 1
    assert 8 < own.sum() < 32, "the other patient is drawn from all, its own included"
    given = Stains.of(found[~own])
    np.testing.assert_allclose(given.colours, stains["b"].colours, atol=0.05)
    np.testing.assert_allclose(given.strengths, stains["b"].strengths, rtol=0.05)
    half = augment(pixels, AugmentConfig(**NONE | {"macenko": 0.5}), np.random.default_rng(0), patients, stains)
    assert (np.abs(half.astype(int) - pixels).max((1, 2, 3)) > 1).sum() < (~own).sum()


def test_patches_of_a_patient_without_stains_stay_as_they_are():
    pixels = pixels_of(6)
    config = AugmentConfig(**NONE | {"macenko": 1.0})
    for stains in ({"other": Stains.of(stained(BLUE))}, {}, None):
        found = augment(pixels, config, np.random.default_rng(0), np.array(["a"] * 6), stains)
        assert np.abs(found.astype(int) - pixels).max() <= 1
