import numpy as np
import pytest

from wsi_idc.evaluation.perturb import PERTURBATIONS, PREVALENCES, SET_VERSION


@pytest.fixture(scope="module")
def patch():
    """Purple blobs on pink, of no order that a kernel could follow."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(100, 220, (13, 13, 3))
    return np.kron(coarse, np.ones((4, 4, 1)))[:50, :50].astype(np.uint8)


def test_the_set_is_the_one_of_its_version():
    """Whoever changes the set changes its version: results with another set must not be taken for the same."""
    assert (SET_VERSION, len(PERTURBATIONS)) == (1, 81)
    assert PREVALENCES == (0.0, 0.05, 0.5, 0.9)
    assert {p.name for p in PERTURBATIONS.values() if p.whole} == {n for n in PERTURBATIONS if n.startswith("section-")}


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_each_changes_pixels_and_not_their_size_and_the_same_way_each_time(name, patch):
    one = PERTURBATIONS[name]
    first, second = one.patches(patch[None]), one.patches(patch[None])
    assert first.shape == (1, *patch.shape)
    assert first.dtype == np.uint8
    assert (first == second).all()
    # The enlarged blocks that "nearest" takes pixels from may give the very same.
    assert (first != patch).any() or name.endswith("nearest") or name == "blur-0.3"
    assert np.abs(first.astype(int) - patch).mean() < 45


def test_a_section_is_compressed_in_tiles_of_its_own():
    """What is in another tile does not matter, and a section smaller than a tile keeps its size."""
    rng = np.random.default_rng(0)
    section = rng.integers(0, 256, (300, 520, 3), dtype=np.uint8)
    other = section.copy()
    other[:, 256:] = 0
    change = PERTURBATIONS["section-jpeg-70-420"]
    first, second = change.section(section), change.section(other)
    assert first.shape == section.shape
    assert (first[:, :256] == second[:, :256]).all()
    assert (first[:, 256:512] != second[:, 256:512]).any()


def test_white_stays_white_under_another_stain():
    white = np.full((1, 50, 50, 3), 255, np.uint8)
    for name in ("haematoxylin-0.7", "haematoxylin-1.3", "eosin-0.7", "eosin-1.3"):
        assert PERTURBATIONS[name].patches(white).min() >= 254


def test_a_larger_view_shows_less_of_the_patch():
    """A square of 10 px about the middle is 11 px wide when all is 10 % larger, 9 px when it is smaller."""
    pixels = np.zeros((1, 50, 50, 3), np.uint8)
    pixels[0, 20:30, 20:30] = 255
    for name, side in (("scale+10%", 11.0), ("scale-10%", 9.0)):
        shown = PERTURBATIONS[name].patches(pixels)[0, :, :, 0]
        assert np.sqrt(shown.sum() / 255) == pytest.approx(side, abs=0.25)
