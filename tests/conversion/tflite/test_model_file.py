"""A file written again holds the same, in fewer bytes and where the schema wants it."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.conversion.tflite.model_file import add_buffer, add_tensor, constant, to_content, unpack
from tests.conversion import made

CHANNELS = 40


def model(tensors: int) -> schema.ModelT:
    """Constants of odd lengths with the same zero points for each."""
    found, graph = schema.ModelT(), schema.SubGraphT()
    found.version, found.buffers, found.operatorCodes = 3, [schema.BufferT()], []
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    found.subgraphs = [graph]
    for i in range(tensors):
        tensor, quantization = schema.TensorT(), schema.QuantizationParametersT()
        tensor.shape, tensor.type = [2 * i + 1], schema.TensorType.INT8
        tensor.buffer = add_buffer(found, np.arange(2 * i + 1, dtype="int8").tobytes())
        quantization.zeroPoint = np.zeros(CHANNELS, "int64")
        quantization.scale = np.full(CHANNELS, i, "float32")
        tensor.quantization = quantization
        add_tensor(graph, tensor)
    return found


def places(content: bytes) -> list[int]:
    """Returns where the data of each constant begins, in bytes from the start of the file."""
    read = schema.Model.GetRootAs(content, 0)
    buffers = [read.Buffers(i) for i in range(read.BuffersLength())]
    return [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b.DataLength()]


def test_what_is_written_reads_the_same():
    read = unpack(to_content(model(5)))
    for i, tensor in enumerate(read.subgraphs[0].tensors):
        assert constant(read, tensor).tolist() == list(range(2 * i + 1))
        assert list(tensor.quantization.zeroPoint) == [0] * CHANNELS
        assert list(tensor.quantization.scale) == [i] * CHANNELS


def test_equal_vectors_are_written_once():
    # A further constant costs its scales, its data and two tables; not its zero points of 8 bytes each.
    more = len(to_content(model(9))) - len(to_content(model(8)))
    assert CHANNELS * 4 < more < CHANNELS * 4 + 160
    # Equal bytes of another type are another vector.
    given = model(1)
    quantization = given.subgraphs[0].tensors[0].quantization
    quantization.scale = np.zeros(2 * CHANNELS, "float32")
    read = unpack(to_content(given)).subgraphs[0].tensors[0].quantization
    assert len(read.scale) == 2 * CHANNELS and len(read.zeroPoint) == CHANNELS


@pytest.mark.parametrize("content", [to_content(model(5)), pytest.param("int8", id="exported")])
def test_data_of_constants_is_aligned(content):
    found = places(made.file(content) if isinstance(content, str) else content)
    assert len(found) >= 5 and all(place % 16 == 0 for place in found)
