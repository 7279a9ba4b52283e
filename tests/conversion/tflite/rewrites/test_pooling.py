"""Average pools as depthwise convolutions: the same values, at most one step away."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from mkd_tf.conversion.tflite.model_file import operator_code, unpack
from mkd_tf.conversion.tflite.rewrites.pooling import pools_as_convolutions
from mkd_tf.edgetpu.placement import check
from tests import harness, int8
from tests.conversion import made

RESOLVERS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def pooled(side=16, **options):
    """A file that is a convolution, an average pool and its output."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((side, side, 3))
    x = keras.layers.Conv2D(5, 3, padding="same")(inputs)
    model = keras.Model(inputs, {"y": keras.layers.AveragePooling2D(**options)(x)})
    return int8.int8_file(model, (1, side, side, 3), scaled(side))


def scaled(side):
    return np.resize(harness.random_images(4, 16) / 127.5 - 1, (4, side, side, 3)).astype("float32")


def levels(content, image, resolver):
    """The output in whole steps."""
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    step, zero = entry["quantization"]
    interpreter.set_tensor(
        entry["index"], np.clip(np.rint(image / step) + zero, -128, 127).astype("int8")[None]
    )
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).astype(int)


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("size", [2, 4, (2, 4)])
def test_equal_within_one_step(size, resolver):
    before = pooled(pool_size=size)
    after = pools_as_convolutions(before)
    assert "AVERAGE_POOL_2D" in check(before).versions()
    assert check(after).versions() == {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3}
    for image in scaled(16):
        expected, found = (levels(content, image, resolver) for content in (before, after))
        assert expected.shape == found.shape and expected.std() > 5
        assert np.abs(found - expected).max() <= 1
        assert np.mean(found != expected) < 0.3, "more than the halves are rounded otherwise"


def test_by_hand():
    """A pool of -3, -1, 2 and 8 steps is 1.5: 1 or 2."""
    before = pooled(side=2, pool_size=2)
    model = unpack(pools_as_convolutions(before))
    graph = model.subgraphs[0]
    kinds = [operator_code(model, operator) for operator in graph.operators]
    convolution = graph.operators[kinds.index(schema.BuiltinOperator.DEPTHWISE_CONV_2D)]
    taken, ones, zeros = (graph.tensors[i] for i in convolution.inputs)
    assert list(ones.shape) == [1, 2, 2, 5] and list(ones.quantization.scale) == [0.25] * 5
    assert ones.quantization.quantizedDimension == 3
    assert zeros.quantization.scale[0] == pytest.approx(taken.quantization.scale[0] / 4)
    weights = np.frombuffer(bytes(model.buffers[ones.buffer].data), "int8").reshape(1, 2, 2, 5)
    total = (np.array([-3, -1, 2, 8]).reshape(2, 2, 1) * weights[0]).sum(axis=(0, 1))
    np.testing.assert_array_equal(total * 0.25, [1.5] * 5)


@pytest.mark.parametrize(
    "options",
    [{"pool_size": 3, "strides": 1}, {"pool_size": 2, "strides": 4}, {"pool_size": 3, "padding": "same"}],
)
def test_other_pools_are_left(options):
    """Overlapping ones, ones with gaps, and ones whose last cell is not whole."""
    content = pooled(**options)
    assert pools_as_convolutions(content) == content


def test_exported_files_have_none():
    """Not as int8, where it is slow; a float file keeps it, and its exact average."""
    versions = check(made.file("int8")).versions()
    assert versions["DEPTHWISE_CONV_2D"] == 3 and "AVERAGE_POOL_2D" not in versions
    assert "AVERAGE_POOL_2D" in check(made.file("float32")).versions()
    content = made.file("float32")
    assert pools_as_convolutions(content) == content
