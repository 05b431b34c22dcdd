import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from wsi_idc.errors import ModelError
from wsi_idc.inference.choose import make_engine
from wsi_idc.inference.onnx_file import faults
from wsi_idc.models.registry import find_model

from helpers import onnx_network, write_onnx_package


def external(name="by", location="weights.bin"):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def scaled(*more):
    network = onnx_network(helper.make_node("Mul", ["mean", "by"], ["logit"]))
    network.graph.initializer.extend(more)
    return network


def in_attribute():
    return onnx_network(
        helper.make_node("Constant", [], ["by"], value=external("constant")),
        helper.make_node("Mul", ["mean", "by"], ["logit"]),
    )


def branches(then, otherwise):
    outputs = [helper.make_tensor_value_info("by", TensorProto.FLOAT, [1])]
    graphs = [helper.make_graph(nodes, "branch", [], outputs, held) for nodes, held in (then, otherwise)]
    return onnx_network(
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["yes"], ["by"], then_branch=graphs[0], else_branch=graphs[1]),
        helper.make_node("Mul", ["mean", "by"], ["logit"]),
    )


def in_subgraph():
    inner = [helper.make_node("Identity", ["there"], ["by"])]
    return branches((inner, [external("there")]), (inner, [numpy_helper.from_array(np.ones(1, np.float32), "there")]))


def in_sparse():
    network = scaled(numpy_helper.from_array(np.ones(1, np.float32), "by"))
    network.graph.sparse_initializer.add(values=external("sparse"))
    return network


def endless(operator="Loop"):
    """Doubles the brightness for ever."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Mul", ["x", "x"], ["twice"]),
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, ["n"])],
        [value("on", TensorProto.BOOL, []), value("twice", TensorProto.FLOAT, ["n"])],
    )
    network = onnx_network(
        helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("Loop", ["", "yes", "mean"], ["logit"], body=body),
    )
    network.graph.node[-2].op_type = operator
    return network


def with_function():
    network = scaled(numpy_helper.from_array(np.ones(1, np.float32), "by"))
    twice = [helper.make_node("Add", ["a", "a"], ["b"])]
    network.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], twice, network.opset_import))
    return network


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (scaled(external()), "encoder.onnx: has weights in another file ('by'); save it as one file"),
        (scaled(external(location="/etc/passwd")), "has weights in another file"),
        (scaled(external(location="*/_ORT_MEM_ADDR_/*")), "has weights in another file"),
        (in_attribute(), "has weights in another file ('constant')"),
        (in_subgraph(), "has weights in another file ('there')"),
        (in_sparse(), "has weights in another file ('sparse')"),
        (endless(), "holds the operator Loop, which may never end"),
        (endless("Scan"), "holds the operator Scan"),
        (with_function(), "holds functions of its own"),
    ],
)
def test_what_lies_elsewhere_or_never_ends_is_refused(tmp_path, monkeypatch, network, said):
    (tmp_path / "weights.bin").write_bytes(np.float32(1).tobytes())
    monkeypatch.chdir(tmp_path)
    package = write_onnx_package(tmp_path / "model", {"encoder": network})
    with pytest.raises(ModelError) as error:
        make_engine("onnx", package)
    assert said in str(error.value)


def test_it_is_refused_before_a_session_is_made(tmp_path, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("a session was made"))
    with pytest.raises(ModelError, match="another file"):
        make_engine("onnx", write_onnx_package(tmp_path / "model", {"encoder": in_subgraph()}))


def test_branches_are_taken(tmp_path):
    one = numpy_helper.from_array(np.ones(1, np.float32), "there")
    inner = [helper.make_node("Identity", ["there"], ["by"])]
    make_engine("onnx", write_onnx_package(tmp_path / "model", {"encoder": branches((inner, [one]), (inner, [one]))}))


@pytest.mark.parametrize("model", ["idc-patch", "idc-context"])
def test_the_models_that_ship_hold_all_that_they_need(model):
    package = find_model(model)
    for network in package.networks:
        assert list(faults(package.read_weights(network, "onnx"))) == []


def test_other_formats_are_not_taken_for_onnx():
    assert list(faults(b"\x20\0\0\0ORTM" + bytes(40))) == ["is of ONNX Runtime's own format, not ONNX"]
    assert "is not ONNX, or damaged" in next(faults(b"no protocol buffer"))


def test_graphs_within_graphs_have_an_end():
    def nested(kind, inner):
        key = {"attribute": 6, "node": 5, "graph": 1}[kind] << 3 | 2
        length, out = len(inner), b""
        while length > 127:
            out, length = out + bytes([length & 127 | 128]), length >> 7
        return bytes([key]) + out + bytes([length]) + inner

    data = b""
    for _ in range(3000):
        for kind in ("attribute", "node", "graph"):
            data = nested(kind, data)
    assert "graphs within graphs" in next(faults(bytes([7 << 3 | 2]) + nested("graph", data)[1:]))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_never_raises(data):
    whole = scaled(external()).SerializeToString()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + data.draw(st.binary(max_size=8)) + whole[at + data.draw(st.integers(0, 8)) :]
    for fault in faults(changed):
        assert fault.isprintable()
