"""Biases of integer files: each at the scale at which it is added."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.conversion.tflite.model_file import operator_code, to_content, unpack
from mkd_tf.conversion.tflite.rewrites.biases import repair_biases
from tests.conversion import made

DTYPES = {schema.TensorType.INT32: "int32", schema.TensorType.INT64: "int64"}


def biases(content):
    """Every convolution's bias as it acts: levels times the scale of the sums, and the declared scale."""
    model = unpack(content)
    tensors = model.subgraphs[0].tensors
    for operator in model.subgraphs[0].operators:
        if operator_code(model, operator) == schema.BuiltinOperator.CONV_2D:
            image, weights, bias = (tensors[i] for i in operator.inputs)
            scale = image.quantization.scale[0] * weights.quantization.scale
            levels = np.frombuffer(bytes(model.buffers[bias.buffer].data), DTYPES[bias.type])
            yield len(levels), levels * scale, bias.quantization.scale / scale


@pytest.mark.parametrize("quantization", ["int8", "int16x8"])
def test_shared_prediction_convolutions_have_the_same_bias_on_every_level(quantization):
    layers = {layer.name: layer for layer in made.detector().core.layers}
    expected = {3: layers["head_class"].bias.numpy(), 4: layers["head_box"].bias.numpy()}
    seen = {3: 0, 4: 0}
    for channels, acting, ratio in biases(made.file(quantization)):
        np.testing.assert_allclose(ratio, 1, rtol=1e-4)
        if channels in expected:
            np.testing.assert_allclose(acting, expected[channels], atol=1e-3)
            seen[channels] += 1
    assert seen == {3: 3, 4: 3}


def test_a_bias_at_a_wrong_scale_keeps_its_value():
    model = unpack(made.file("int8"))
    graph = model.subgraphs[0]
    convolution = next(
        o for o in graph.operators if operator_code(model, o) == schema.BuiltinOperator.CONV_2D
    )
    bias = graph.tensors[convolution.inputs[2]]
    before = list(biases(made.file("int8")))[0][1]
    levels = np.frombuffer(bytes(model.buffers[bias.buffer].data), "int32")
    model.buffers[bias.buffer].data = np.frombuffer((levels * 4).astype("int32").tobytes(), "uint8")
    bias.quantization.scale = bias.quantization.scale / 4
    broken = to_content(model)
    assert list(biases(broken))[0][2] == pytest.approx(0.25)
    (_, acting, ratio), *others = biases(repair_biases(broken))
    np.testing.assert_allclose(acting, before, rtol=1e-5)
    np.testing.assert_allclose(ratio, 1, rtol=1e-4)
    assert len(others) == len(list(biases(broken))) - 1


@pytest.mark.parametrize("quantization", ["float32", "dynamic", "int8"])
def test_a_sound_file_is_returned_as_it_is(quantization):
    content = made.file(quantization)
    assert repair_biases(content) is content
