"""Networks that would take all memory, or all time, for one patch: an error of the model, within bounds."""

import platform
import resource
import time

import numpy as np
import pytest
from onnx import helper, numpy_helper

from wsi_idc.errors import ModelError
from wsi_idc.inference import bounded
from wsi_idc.inference.choose import make_engine
from wsi_idc.models.registry import find_model

from helpers import onnx_network, write_onnx_package

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="other systems limit nothing")
HUGE = 4_000_000_000


def network(*nodes, **held):
    """Multiply the brightness of a patch by the mean of what nodes make of it, "big"."""
    after = [
        helper.make_node("ReduceMean", ["big"], ["by"], keepdims=0),
        helper.make_node("Mul", ["mean", "by"], ["logit"]),
    ]
    made = onnx_network(*nodes, *after)
    made.graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in held.items())
    return made


def counted(to, *more):
    """Numbers from 0, and what more nodes make of them."""
    ends = {"first": np.float32(0), "end": np.float32(to), "step": np.float32(1)}
    return network(helper.make_node("Range", list(ends), ["numbers" if more else "big"]), *more, **ends, z=[1])


BOMBS = {
    "ConstantOfShape": network(helper.make_node("ConstantOfShape", ["shape"], ["big"]), shape=[40_000, 100_000]),
    "Expand": network(helper.make_node("Expand", ["mean", "shape"], ["big"]), shape=[HUGE, 1]),
    "Tile": network(helper.make_node("Tile", ["mean", "shape"], ["big"]), shape=[HUGE // 4]),
    "Pad": network(helper.make_node("Pad", ["mean", "shape"], ["big"]), shape=[0, HUGE]),
    "Resize": network(helper.make_node("Resize", ["mean", "", "by_how_much"], ["big"]), by_how_much=[np.float32(HUGE)]),
    "Range": counted(HUGE),
    "an outer product": counted(
        60_000, helper.make_node("Unsqueeze", ["numbers", "z"], ["column"]),
        helper.make_node("Mul", ["numbers", "column"], ["big"]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_takes_more_memory_than_a_patch_needs_is_refused(tmp_path, bomb):
    package, before = write_onnx_package(tmp_path / "model", {"encoder": BOMBS[bomb]}), limits()
    begun = time.monotonic()
    with pytest.raises(ModelError, match=r"model: .*more than 2 GiB of memory for one patch") as error:
        make_engine("onnx", package)
    assert time.monotonic() - begun < 5 and "\n" not in str(error.value)
    assert limits() == before


def test_what_does_not_end_in_time_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "LONGEST_S", 0.3)
    # From the patch, so that it is not computed while the network is made.
    square = [
        helper.make_node("Mul", ["numbers", "mean"], ["row"]),
        helper.make_node("Unsqueeze", ["row", "z"], ["column"]),
        helper.make_node("Mul", ["row", "column"], ["square0"]),
    ]
    steps = [helper.make_node("MatMul", [f"square{n}", f"square{n}"], [f"square{n + 1}"]) for n in range(500)]
    last = helper.make_node("Identity", ["square500"], ["big"])
    package = write_onnx_package(tmp_path / "model", {"encoder": counted(1500, *square, *steps, last)})
    begun = time.monotonic()
    with pytest.raises(ModelError, match=r"longer than .* for a few patches"):
        make_engine("onnx", package)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("name", ["idc-patch", "idc-context"])
def test_the_models_that_ship_have_room(name):
    before = limits()
    make_engine("onnx", find_model(name))
    assert limits() == before


def limits():
    return resource.getrlimit(resource.RLIMIT_AS)
