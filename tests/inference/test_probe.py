import numpy as np
import pytest
from onnx import helper

from wsi_idc.api.images import predict_images
from wsi_idc.errors import DataError, ModelError
from wsi_idc.inference.choose import make_engine
from wsi_idc.inference.predictor import Predictor
from wsi_idc.inference.probe import probes
from wsi_idc.models.registry import find_model

from helpers import NumpyEngine, no_number_between, numpy_package, onnx_network, write_onnx_package


def scaled(by):
    return onnx_network(helper.make_node("Mul", ["mean", "by"], ["logit"]), by=by)


@pytest.mark.parametrize(
    ("network", "patch"),
    [
        (scaled(np.nan), "a black patch"),
        (scaled(np.inf), "a black patch"),
        (no_number_between(-0.01, 0.2), "a black patch"),
        (no_number_between(0.1, 0.25), "a dark patch"),
        (no_number_between(0.9, 1.1), "a white patch"),
        (onnx_network(helper.make_node("Exp", ["huge"], ["e"]), helper.make_node("Mul", ["mean", "e"], ["logit"]),
                      huge=1000), "a black patch"),
    ],
)  # fmt: skip
def test_a_model_that_gives_no_number_is_refused(tmp_path, network, patch):
    package = write_onnx_package(tmp_path / "model", {"encoder": network})
    with pytest.raises(ModelError, match=rf"model: its encoder gives no number \(NaN or infinite\) for {patch}"):
        make_engine("onnx", package)


def test_one_broken_tensor_of_a_context_network_is_enough(tmp_path):
    """Weights as they ship, one of them made NaN."""
    import onnx
    from onnx import numpy_helper

    shipped = find_model()
    networks = {n: onnx.load_from_string(shipped.read_weights(n, "onnx")) for n in ("encoder", "context")}
    tensor = next(t for t in networks["context"].graph.initializer if t.data_type == 1 and len(t.dims) >= 2)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    package = write_onnx_package(tmp_path / "model", networks, halo=shipped.halo)
    with pytest.raises(ModelError, match="its context network gives no number"):
        make_engine("onnx", package)


@pytest.mark.parametrize("name", ["idc-patch", "idc-context"])
def test_the_models_that_ship_are_not(name):
    make_engine("onnx", find_model(name))


def test_the_patches_are_of_many_kinds():
    found = probes(50)
    means = {name: pixels.mean() for name, pixels in found.items()}
    assert all(p.shape == (50, 50, 3) and p.dtype == np.uint8 for p in found.values())
    assert means["a black patch"] == 0
    assert means["a dark patch"] < 60
    assert 100 < means["a patch like stained tissue"] < 220
    assert means["a white patch"] == 255


class Numberless(NumpyEngine):
    """Gives no number for patches that are exactly of one grey."""

    grey = 77

    def run(self, network, *inputs):
        found = super().run(network, *inputs)
        if network == "encoder":
            found[(inputs[0] == self.grey).all((1, 2, 3))] = np.inf
        return found


@pytest.mark.parametrize("halo", [0, 2])
def test_a_patch_without_a_number_is_absent_for_its_neighbours(halo):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (250, 250, 3), dtype=np.uint8)
    pixels[50:100, 100:150] = 77
    present = np.ones((5, 5), bool)
    without = present.copy()
    without[1, 2] = False
    package = numpy_package(halo=halo)
    found = Predictor(package, Numberless(halo)).block(pixels, present)
    np.testing.assert_array_equal(found, Predictor(package, NumpyEngine(halo)).block(pixels, without))
    assert np.isnan(found[1, 2])


def test_an_image_without_a_number_has_no_row(tmp_path):
    from PIL import Image

    package = write_onnx_package(tmp_path / "model", {"encoder": no_number_between(0.7, 0.8)})
    for grey in (191, 240):
        Image.new("RGB", (50, 50), (grey,) * 3).save(tmp_path / f"{grey}.png")
    rows, errors = predict_images([tmp_path / "191.png", tmp_path / "240.png"], package)
    assert [row["image"] for row in rows] == [str(tmp_path / "240.png")]
    assert [type(e) for e in errors] == [DataError]
    assert "191.png: test gives no number for 1 of its 1 patches" in str(errors[0])
