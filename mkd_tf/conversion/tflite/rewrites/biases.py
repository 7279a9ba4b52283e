"""Each convolution of an integer file gets a bias at its own scale.

A convolution adds its bias to sums whose scale is that of its input times that of its
weights, whatever scale the bias itself declares. TensorFlow 2.21's converter gives the
calls of a shared convolution one bias in 16x8 files, at the scale of one of the calls:
where the pyramid's levels differ in range, logits of the other levels were off by 0.6.
"""

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.conversion.tflite.model_file import (
    add_buffer,
    add_tensor,
    constant,
    operator_name,
    to_content,
    unpack,
)

_BIASED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_TYPES = (schema.TensorType.INT32, schema.TensorType.INT64)


def _own_bias(model: schema.ModelT, bias: schema.TensorT, scale: np.ndarray) -> schema.TensorT:
    """Returns a copy of `bias` with a buffer of its own, the same values at `scale` `[channels]`."""
    stored = constant(model, bias)
    levels = np.rint(stored * np.asarray(bias.quantization.scale, "float64") / scale)
    limits = np.iinfo(stored.dtype)
    own = copy.copy(bias)
    own.quantization = copy.copy(bias.quantization)
    own.quantization.scale = scale.astype("float32")
    own.buffer = add_buffer(model, np.clip(levels, limits.min, limits.max).astype(stored.dtype).tobytes())
    return own


def repair_biases(content: bytes) -> bytes:
    """Returns the file with every integer bias at the scale at which it is added."""
    model = unpack(content)
    tensors = model.subgraphs[0].tensors
    repaired = 0
    for operator in model.subgraphs[0].operators:
        has_bias = len(operator.inputs) == 3 and operator.inputs[2] >= 0
        if not has_bias or operator_name(model, operator) not in _BIASED:
            continue
        image, weights, bias = (tensors[i] for i in operator.inputs)
        if bias.type not in _TYPES:
            continue
        scale = np.float64(image.quantization.scale[0]) * np.asarray(weights.quantization.scale, "float64")
        if np.allclose(bias.quantization.scale, scale, rtol=1e-4, atol=0):
            continue
        own = add_tensor(model.subgraphs[0], _own_bias(model, bias, scale))
        operator.inputs = [*operator.inputs[:2], own]
        repaired += 1
    return to_content(model, len(content)) if repaired else content
