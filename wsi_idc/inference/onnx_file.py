"""What an ONNX file holds, read from its bytes before anything is made of it: a stranger may have written it.

The package `onnx` is not needed to compute, so that the few fields that matter are read here. Their numbers, and those
of the wire format, are of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto and https://protobuf.dev.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsi_idc.errors import ModelError
from wsi_idc.models.package import ModelPackage

# The inputs of a context network, by name and in this order; it need not take the last one.
CONTEXT_INPUTS = ("features", "present", "slide")
# Messages in which tensors and operators lie, each with those of its fields that are such messages, by number.
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14
_NODE_OPERATOR = 4
# They compute as often as the file says, or for ever. No network of patches needs one.
_LOOPS = frozenset({b"Loop", b"Scan", b"SequenceMap"})
# Graphs within operators of graphs.
_DEEPEST = 32


def read_onnx(package: ModelPackage, network: str) -> bytes:
    """Read the ONNX file of a network ("encoder", "context") of a package, verified; raises ModelError for its faults.

    To be computed from memory, not by path: the bytes that run are the bytes whose checksum was verified.
    """
    data = package.read_weights(network, "onnx")
    if fault := next(faults(data), None):
        raise ModelError(f"{package.folder / package.networks[network]['onnx']['file']}: {fault}")
    return data


def faults(data: bytes) -> Iterator[str]:
    """Say what of an ONNX file may not be computed, each in a phrase: nothing for one that holds all that it needs.

    Tensors that lie in other files are outside of the checksum, and are looked for where the command was started. Loops
    may never end, and functions that call functions may unfold to more than any memory.
    """
    if data[4:8] == b"ORTM":
        yield "is of ONNX Runtime's own format, not ONNX"
        return
    try:
        yield from _faults(memoryview(data), "model", 0)
    except ValueError as error:
        yield f"is not ONNX, or damaged ({error})"


def _faults(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > 4 * _DEEPEST:
        raise ValueError(f"graphs within graphs, more than {_DEEPEST}")
    name, elsewhere = "", False
    for number, value in _fields(message):
        inner = _INSIDE.get(kind, {}).get(number)
        if inner == "function":
            yield "holds functions of its own; inline them (onnx.inliner.inline_local_functions)"
        elif inner:
            yield from _faults(_bytes(value), inner, depth + 1)
        elif kind == "node" and number == _NODE_OPERATOR and (operator := bytes(_bytes(value))) in _LOOPS:
            yield f"holds the operator {operator.decode()}, which may never end"
        elif kind == "tensor" and number == _TENSOR_NAME:
            name = bytes(_bytes(value)[:80]).decode("utf-8", "replace")
        elif kind == "tensor" and (number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value)):
            elsewhere = True
    if elsewhere:
        yield f"has weights in another file ({name!a}); save it as one file"


def _bytes(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Give the fields of a message of Protocol Buffers: their numbers, and what they hold."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, form = key >> 3, key & 7
        if form == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        length = {1: 8, 5: 4}.get(form)
        if form == 2:
            length, at = _varint(message, at)
        if length is None or at + length > len(message):
            raise ValueError("cut short" if length is not None else f"a field of form {form}")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("cut short")
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
