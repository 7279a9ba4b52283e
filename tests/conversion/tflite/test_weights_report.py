"""The report of weights: counts by hand, against the interpreter's tensors, and through a float16 file."""

import json
import zlib

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from mkd_tf.conversion.tflite.model_file import add_buffer, to_content, unpack
from mkd_tf.conversion.tflite.weights_report import weights_report
from tests.conversion import made

CONVOLUTION = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 2.0], [3.0, 0.0, 1.0], [1.0, 0.0, 4.0]], "float32")
DEPTHWISE = np.array([[5.0, 0.0, 5.0], [5.0, 0.0, 6.0]], "float32").reshape(2, 1, 3, 1)
DENSE = np.array([[1.0, 0.0], [1.0, 0.0], [7.0, 0.0]], "float32")


def content_by_hand(optimize: bool = False) -> bytes:
    """A 1x1 convolution called twice, a depthwise one and a fully connected layer."""

    @tf.function(input_signature=[tf.TensorSpec((1, 4, 4, 4), tf.float32)])
    def serve(x):
        kernel = CONVOLUTION.reshape(1, 1, 4, 3)
        x = tf.nn.conv2d(x, kernel, 1, "SAME") + tf.nn.conv2d(x * x, kernel, 1, "SAME")
        x = tf.nn.depthwise_conv2d(x, DEPTHWISE, (1, 1, 1, 1), "SAME")
        return tf.reshape(x, (16, 3)) @ DENSE

    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()])
    if optimize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_counts_by_hand(dtype):
    content = content_by_hand(optimize=dtype == "float16")
    report = weights_report(content)
    facts = {
        k["operator"]: (
            tuple(k["shape"]),
            *(k[key] for key in ("dtype", "count", "zeros", "distinct", "distinct_per_channel")),
        )
        for k in report["kernels"]
    }
    assert facts == {
        # Of the channels [1, 0, 3, 1], [0, 0, 0, 0] and [2, 2, 1, 4].
        "CONV_2D": ((3, 1, 1, 4), dtype, 12, 5 / 12, 5, 3),
        "DEPTHWISE_CONV_2D": ((1, 2, 1, 3), dtype, 6, 2 / 6, 3, 2),
        "FULLY_CONNECTED": ((2, 3), dtype, 6, 3 / 6, 3, 2),
    }
    assert len(report["kernels"]) == 3, "a kernel that is used twice is counted once"
    assert (report["count"], report["zeros"]) == (24, pytest.approx(10 / 24))
    assert (report["bytes"], report["zipped_bytes"]) == (len(content), len(zlib.compress(content, 9)))


@pytest.mark.parametrize("quantization", ["int8", "dynamic"])
def test_a_detectors_kernels_are_those_of_the_interpreter(quantization):
    content = made.file(quantization)
    report = weights_report(content)
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # A delegate would take the weights away.
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    tensors = {t["name"]: t["index"] for t in interpreter.get_tensor_details()}
    for kernel in report["kernels"]:
        values = interpreter.get_tensor(tensors[kernel["name"]])
        assert tuple(kernel["shape"]) == values.shape
        # The dynamic form leaves kernels of under 1024 weights in floats.
        small = quantization == "dynamic" and kernel["count"] < 1024
        assert kernel["dtype"] == values.dtype.name == ("float32" if small else "int8")
        assert kernel["zeros"] == (values == 0).mean()
        assert kernel["distinct"] == len(set(values.ravel().tolist()))
        channels = np.moveaxis(values, 3 if kernel["operator"] == "DEPTHWISE_CONV_2D" else 0, 0)
        assert kernel["distinct_per_channel"] == max(len(set(c.ravel().tolist())) for c in channels)
    convolutions = [x for x in made.detector().core.layers if type(x).__name__ == "Conv2D"]
    # Depthwise ones stand for average pools.
    counts = [k["count"] for k in report["kernels"] if k["operator"] == "CONV_2D"]
    assert sorted(counts) == sorted(x.kernel.shape.num_elements() for x in convolutions)


def test_a_zero_point_is_a_zero():
    """Unsigned weights of old files: 128 stands for 0."""
    model = unpack(content_by_hand())
    graph = model.subgraphs[0]
    kernel = next(t for t in graph.tensors if tuple(t.shape) == (3, 1, 1, 4))
    kernel.type = schema.TensorType.UINT8
    kernel.quantization = schema.QuantizationParametersT()
    kernel.quantization.scale, kernel.quantization.zeroPoint = [0.1], [128]
    kernel.buffer = add_buffer(model, bytes([128, 128, 128, 0] + [1] * 8))
    found = {k["operator"]: k for k in weights_report(to_content(model))["kernels"]}["CONV_2D"]
    assert (found["dtype"], found["zeros"], found["distinct"]) == ("uint8", 3 / 12, 3)


def test_a_file_without_weights():
    @tf.function(input_signature=[tf.TensorSpec((1, 2), tf.float32)])
    def serve(x):
        return x + 1.0

    content = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()]).convert()
    report = weights_report(content)
    assert (report["kernels"], report["count"], report["zeros"]) == ([], 0, 0.0)


def test_the_summary_goes_into_a_manifest():
    report = weights_report(content_by_hand())
    read = json.loads(json.dumps(report))
    assert read["count"] == 24
    assert read["kernels"][0]["operator"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    assert set(read) == {"kernels", "count", "zeros", "bytes", "zipped_bytes"}
