from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_idc import stream as stream_module
from wsi_idc.errors import SlideError
from wsi_idc.grid import Block, Grid
from wsi_idc.inference import Predictor
from wsi_idc.kept import KeptFeatures
from wsi_idc.stream import Encoder, in_threads, stream

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


def run(folder, pixels, wanted, *, halo, chunk, workers=1, batch=64, damaged=(), progress=None):
    grid = Grid((pixels.shape[1], pixels.shape[0]), (4.0, 4.0), 50, 4.0)
    predictor = Predictor(numpy_package(halo=halo), NumpyEngine(halo, batch))
    features = KeptFeatures(Path(f"{folder}-features"), (1, *grid.shape, predictor.n_features), chunk)
    encoder = Encoder(ArraySlide(pixels, damaged), grid, predictor, features)
    return stream(encoder, wanted, in_threads(workers), progress)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 3),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from([1, 5, 64]),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
def test_tiled_is_whole(tmp_path_factory, shape, halo, chunk, workers, batch, together, seed):
    rng = np.random.default_rng(seed)
    wanted = rng.random(shape) > 0.3
    pixels = (rng.random((shape[0] * 50, shape[1] * 50, 3)) * 255).astype(np.uint8)
    folder = tmp_path_factory.mktemp("stream") / "heatmap.zarr"
    with patch.object(stream_module, "_TOGETHER", together):
        found, report = run(folder, pixels, wanted, halo=halo, chunk=chunk, workers=workers, batch=batch)
    assert not report.failed
    np.testing.assert_allclose(found, summed_darkness(pixels, wanted, halo), atol=1e-6)


@pytest.mark.parametrize("halo", [0, 2])
def test_undecodable_patches_are_reported_and_absent_for_their_neighbours(tmp_path, halo):
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    wanted = np.ones((8, 8), bool)
    found, report = run(tmp_path / "h", pixels, wanted, halo=halo, chunk=3, workers=3, damaged=[(170, 20), (399, 399)])
    assert [(f.block, f.patches) for f in report.failed] == [(Block(0, 3, 3, 6), 1), (Block(6, 6, 8, 8), 1)]
    assert "cannot decode" in report.failed[0].reason
    readable = wanted.copy()
    readable[0, 3] = readable[7, 7] = False
    np.testing.assert_allclose(found, summed_darkness(pixels, readable, halo), atol=1e-6)


@pytest.mark.parametrize("halo", [0, 3])
def test_each_patch_is_encoded_once_though_chunks_see_each_other(tmp_path, halo):
    class Counting(NumpyEngine):
        encoded = 0

        def run(self, network, *inputs):
            self.encoded += len(inputs[0]) if network == "encoder" else 0
            return super().run(network, *inputs)

    engine = Counting(halo)
    predictor = Predictor(numpy_package(halo=halo), engine)
    engine.encoded = 0
    pixels = np.random.default_rng(0).integers(0, 256, (600, 550, 3), dtype=np.uint8)
    grid = Grid((550, 600), (4.0, 4.0), 50, 4.0)
    wanted = np.random.default_rng(1).random(grid.shape) > 0.2
    features = KeptFeatures(tmp_path / "features", (1, *grid.shape, predictor.n_features), 4)
    found, _ = stream(Encoder(ArraySlide(pixels), grid, predictor, features), wanted, in_threads(2))
    assert engine.encoded == wanted.sum()
    np.testing.assert_allclose(found, summed_darkness(pixels, wanted, halo), atol=1e-6)


@pytest.mark.parametrize("workers", [1, 4])
def test_progress_counts_every_wanted_patch_once(tmp_path, workers):
    wanted = np.zeros((10, 10), bool)
    wanted[2:9, 1:4] = True
    counts = []
    run(
        tmp_path / "h",
        np.zeros((500, 500, 3), np.uint8),
        wanted,
        halo=1,
        chunk=4,
        workers=workers,
        progress=counts.append,
    )
    assert sum(counts) == wanted.sum()
