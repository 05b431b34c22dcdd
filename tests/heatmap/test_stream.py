from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc.base.grid import Block, Grid
from wsi_idc.errors import SlideError
from wsi_idc.heatmap import assemble as finish
from wsi_idc.heatmap import store as heatmap
from wsi_idc.heatmap import stream as stream_module
from wsi_idc.heatmap.encode import Encoded, Encoder
from wsi_idc.heatmap.features import KeptFeatures
from wsi_idc.heatmap.store import HeatmapSpec
from wsi_idc.heatmap.stream import in_threads, stream
from wsi_idc.inference.predictor import Predictor

from helpers import NumpyEngine, numpy_package, summed_darkness


class ArraySlide:
    """A slide at the model's scale that is an array; rectangles that touch `damaged` cannot be decoded."""

    def __init__(self, pixels, damaged=()):
        self.pixels, self.damaged = pixels, damaged

    def read(self, x, y, width, height, mpp):
        x, y = round(x), round(y)
        if any(x <= dx < x + width and y <= dy < y + height for dx, dy in self.damaged):
            raise SlideError(f"cannot decode {x}, {y}")
        out = np.full((height, width, 3), 255, np.uint8)
        part = self.pixels[y : y + height, x : x + width]
        out[: part.shape[0], : part.shape[1]] = part
        return out


def run(folder, pixels, wanted, *, halo, chunk, workers=1, engine=None, damaged=(), progress=None):
    """Compute the heatmap of an array; its store and the features are in `folder`."""
    grid = Grid((pixels.shape[1], pixels.shape[0]), (4.0, 4.0), 50, 4.0)
    predictor = Predictor(numpy_package(halo=halo), engine or NumpyEngine(halo))
    features = KeptFeatures(folder / "features", (1, *grid.shape, predictor.n_features), chunk)
    encoder = Encoder(ArraySlide(pixels, damaged), grid, predictor, features)
    found, report = stream([(encoder, wanted)], HeatmapSpec(grid, {}), wanted, folder, in_threads(workers), progress)
    return found.read(), report


@settings(max_examples=25)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 3),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from([1, 5, 64]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
def test_tiled_is_whole(tmp_path_factory, shape, halo, chunk, workers, batch, together, written, seed):
    rng = np.random.default_rng(seed)
    wanted = rng.random(shape) > 0.3
    pixels = (rng.random((shape[0] * 50, shape[1] * 50, 3)) * 255).astype(np.uint8)
    folder, engine = tmp_path_factory.mktemp("stream"), NumpyEngine(halo, batch)
    with patch.object(finish, "_TOGETHER", together), patch.object(heatmap, "_CHUNK", written):
        found, report = run(folder, pixels, wanted, halo=halo, chunk=chunk, workers=workers, engine=engine)
    assert not report.failed
    np.testing.assert_allclose(found, summed_darkness(pixels, wanted, halo), atol=1e-6)


@pytest.mark.parametrize("halo", [0, 2])
def test_undecodable_patches_are_reported_and_absent_for_their_neighbours(tmp_path, halo):
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    wanted = np.ones((8, 8), bool)
    found, report = run(tmp_path, pixels, wanted, halo=halo, chunk=3, workers=3, damaged=[(170, 20), (399, 399)])
    assert [(f.block, f.patches) for f in report.failed] == [(Block(0, 3, 3, 6), 1), (Block(6, 6, 8, 8), 1)]
    assert "cannot decode" in report.failed[0].reason
    readable = wanted.copy()
    readable[0, 3] = readable[7, 7] = False
    np.testing.assert_allclose(found, summed_darkness(pixels, readable, halo), atol=1e-6)


class NoNumber(NumpyEngine):
    """Gives no number where it sees one feature: of the encoder, or of the context network."""

    def __init__(self, halo, network, beyond):
        super().__init__(halo)
        self.network, self.beyond = network, beyond

    def run(self, network, *inputs):
        found = super().run(network, *inputs)
        if network == self.network:
            darkness = found if network == "encoder" else inputs[0][..., :1]
            found = np.where(darkness > self.beyond, np.float32(np.inf), found)
        return found


@pytest.mark.parametrize(("halo", "network"), [(0, "encoder"), (2, "encoder"), (2, "context")])
def test_patches_without_a_number_are_counted_and_absent(tmp_path, halo, network):
    pixels = np.random.default_rng(0).integers(0, 200, (400, 400, 3), dtype=np.uint8)
    pixels[150:200, 0:50] = pixels[350:400, 350:400] = 0
    wanted = np.ones((8, 8), bool)
    engine = NoNumber(halo, network, 0.9)
    for _ in range(2):  # As it is gone on with, too.
        found, report = run(tmp_path, pixels, wanted, halo=halo, chunk=3, workers=3, engine=engine)
        assert report.numberless == sum(f.patches for f in report.failed) == 2
        assert "no number" in report.failed[0].reason
        assert [tuple(at) for at in np.argwhere(np.isnan(found))] == [(3, 0), (7, 7)]
        if network == "encoder":
            np.testing.assert_allclose(found, summed_darkness(pixels, ~np.isnan(found), halo), atol=1e-6)


@pytest.mark.parametrize("halo", [0, 3])
def test_each_patch_is_encoded_once_though_chunks_see_each_other(tmp_path, halo):
    class Counting(NumpyEngine):
        encoded = 0

        def run(self, network, *inputs):
            self.encoded += len(inputs[0]) if network == "encoder" else 0
            return super().run(network, *inputs)

    engine = Counting(halo)
    pixels = np.random.default_rng(0).integers(0, 256, (600, 550, 3), dtype=np.uint8)
    wanted = np.random.default_rng(1).random((12, 11)) > 0.2
    found, _ = run(tmp_path, pixels, wanted, halo=halo, chunk=4, workers=2, engine=engine)
    # A predictor begins with one patch, to learn how many features there are.
    assert engine.encoded == 1 + wanted.sum()
    np.testing.assert_allclose(found, summed_darkness(pixels, wanted, halo), atol=1e-6)


@pytest.mark.parametrize("workers", [1, 4])
def test_progress_counts_every_wanted_patch_once(tmp_path, workers):
    wanted = np.zeros((10, 10), bool)
    wanted[2:9, 1:4] = True
    counts = []
    run(tmp_path, np.zeros((500, 500, 3), np.uint8), wanted, halo=1, chunk=4, workers=workers, progress=counts.append)
    assert sum(counts) == wanted.sum()


def test_packs_are_encoded_one_after_another_as_they_lie():
    """Neighbours share tiles, which are kept for a while only."""
    packs = [[(Block(n, 0, n + 1, 1), np.ones((1, 1), bool))] for n in range(50)]
    begun = []

    def encode(pack):
        begun.extend(block.top for block, _ in pack)
        return [Encoded() for _ in pack]

    in_threads(1)(encode, packs, lambda *_: None)
    assert begun == list(range(50))


@pytest.fixture
def small(monkeypatch):
    """Encode a chunk at a time, and write a heatmap in chunks of 2 x 2."""
    monkeypatch.setattr(stream_module, "_BATCHES", 0)
    monkeypatch.setattr(heatmap, "_CHUNK", 2)


@pytest.mark.parametrize("halo", [0, 1])
def test_chunks_of_the_heatmap_are_written_as_they_finish(tmp_path, small, halo):
    """Of 3 x 2 chunks of a patch model one more after each that is encoded; of a context model all after the last."""
    written = []

    def progress(patches):
        written.append(len(list(tmp_path.glob("*.zarr/0/c/*/*"))))

    pixels, wanted = np.zeros((300, 200, 3), np.uint8), np.ones((6, 4), bool)
    found, _ = run(tmp_path, pixels, wanted, halo=halo, chunk=2, progress=progress)
    assert written == ([0] * 6 if halo else [1, 2, 3, 4, 5, 6])
    assert len(list(tmp_path.glob("*.zarr/0/c/*/*"))) == 6 and np.isfinite(found).all()


class Stopping(NumpyEngine):
    """Is interrupted when it is asked for more neighbourhoods than `left`."""

    left = 0

    def run(self, network, *inputs):
        if network == "context":
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
        return super().run(network, *inputs)


def test_chunks_of_the_heatmap_that_are_written_are_not_computed_again(tmp_path, small):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    wanted, engine = np.ones((6, 4), bool), Stopping(1)
    for left in (4, 0):
        engine.left = left
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, pixels, wanted, halo=1, chunk=3, engine=engine)
    chunks = sorted(tmp_path.glob("*.zarr/0/c/*/*"))
    assert len(chunks) == 4
    # As though the machine had lost its power.
    chunks[1].write_bytes(chunks[1].read_bytes()[:5])
    engine.left = 3
    found, _ = run(tmp_path, pixels, wanted, halo=1, chunk=3, engine=engine)
    assert engine.left == 0
    np.testing.assert_allclose(found, summed_darkness(pixels, wanted, 1), atol=1e-6)


def test_a_patch_that_can_be_read_again_changes_what_was_written(tmp_path, small):
    """The mean of the slide is another one, also where the patch is far off."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    wanted, engine = np.ones((6, 4), bool), Stopping(1)
    engine.left = 5
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, pixels, wanted, halo=1, chunk=2, engine=engine, damaged=[(0, 0)])
    engine.left = 6
    found, report = run(tmp_path, pixels, wanted, halo=1, chunk=2, engine=engine)
    assert engine.left == 0 and not report.failed
    np.testing.assert_allclose(found, summed_darkness(pixels, wanted, 1), atol=1e-6)
