import numpy as np
import pytest

from wsi_idc.errors import ModelError
from wsi_idc.models.architectures import build
from wsi_idc.models.efficientnet_lite import efficientnet_lite0


@pytest.fixture(scope="module")
def arrays():
    """Weights of every layer but the last, as `examples/imagenet_weights.py` names them."""
    rng = np.random.default_rng(0)
    model = efficientnet_lite0(16, blocks=3)
    return {
        f"{layer.name}/{number}": rng.uniform(0.1, 1, weight.shape).astype(np.float32)
        for layer in model.layers
        if layer.name != "logits"
        for number, weight in enumerate(layer.weights)
    }


def saved(path, arrays):
    np.savez(path, **arrays)
    return path


def test_weights_from_a_file(tmp_path, arrays):
    # More than the blocks that are built, as in the file of the whole network.
    path = saved(tmp_path / "lite.npz", arrays | {"block9_expand/0": np.zeros(3)})
    model = build("efficientnet_lite0", weights=str(path), patch_size=16, blocks=3)
    for layer in model.layers:
        for number, weight in enumerate(layer.get_weights() if layer.name != "logits" else []):
            np.testing.assert_array_equal(weight, arrays[f"{layer.name}/{number}"])
    assert {name.partition("/")[0] for name in arrays} == {
        layer.name for layer in model.layers if layer.weights and layer.name != "logits"
    }


def test_a_file_that_does_not_fit(tmp_path, arrays):
    def refused(path):
        with pytest.raises(ModelError) as caught:
            efficientnet_lite0(16, weights=path, blocks=3)
        message = str(caught.value)
        assert message.startswith(f"{path}: does not hold weights of efficientnet_lite0 (")
        assert message.endswith("; see examples/imagenet_weights.py")
        assert "\n" not in message

    refused(saved(tmp_path / "less.npz", {k: v for k, v in arrays.items() if k != "stem/0"}))
    refused(saved(tmp_path / "other.npz", arrays | {"stem/0": np.zeros((3, 3, 3, 16), np.float32)}))
    content = saved(tmp_path / "whole.npz", arrays).read_bytes()
    damaged = {"text": b"damaged", "empty": b"", "cut": content[: len(content) // 2]}
    for name, data in damaged.items():
        (tmp_path / f"{name}.npz").write_bytes(data)
        refused(tmp_path / f"{name}.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    refused(tmp_path / "one.npy")
    refused(tmp_path / "gone.npz")


@pytest.mark.parametrize("blocks", [0, -1, 12])
def test_blocks_that_there_are_not(blocks):
    with pytest.raises(ModelError, match="blocks: 1 to 11"):
        build("efficientnet_lite0", patch_size=16, blocks=blocks)


def test_every_block_has_its_width():
    model = efficientnet_lite0(50)
    widths = [model.get_layer(f"block{n}_project_bn").output.shape[-1] for n in range(11)]
    assert widths == [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112]
    # The stem keeps the sides, four stages of five halve them.
    assert model.get_layer("block10_project_bn").output.shape[1:3] == (7, 7)
