"""Average pools of an int8 file become depthwise convolutions, which a CPU runs several times faster.

XNNPACK, the library that runs TFLite files on a CPU, has no average pool in int8: the pool
runs as a plain loop, and the graph is cut in two there. A pool without overlap equals a
depthwise convolution whose weights are all 1, at a scale of 1 / cells: the same sum,
rounded once. Exact halves may be rounded to the other side, which is a difference of one step.
"""

import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.conversion.tflite.model_file import (
    add_buffer,
    add_code,
    add_tensor,
    operator_name,
    to_content,
    unpack,
)

_VERSION = 3
"""Of DEPTHWISE_CONV_2D: the first one with int8 weights per channel."""


def _constant(model: schema.ModelT, name: str, values: np.ndarray, kind: int, scale: float) -> int:
    """Adds a constant with one scale per channel, its last dimension; returns the tensor's index."""
    channels = values.shape[-1]
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape = name.encode(), kind, list(values.shape)
    tensor.buffer = add_buffer(model, values.tobytes())
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.full(channels, scale, "float32")
    tensor.quantization.zeroPoint = np.zeros(channels, "int64")
    tensor.quantization.quantizedDimension = values.ndim - 1
    return add_tensor(model.subgraphs[0], tensor)


def _is_plain(model: schema.ModelT, operator: schema.OperatorT) -> bool:
    """Whether it is an int8 average pool of whole cells that keeps its input's scale."""
    if operator_name(model, operator) != "AVERAGE_POOL_2D":
        return False
    options = operator.builtinOptions
    taken, given = (model.subgraphs[0].tensors[i] for i in (operator.inputs[0], operator.outputs[0]))
    cell = (options.filterHeight, options.filterWidth)
    return (
        taken.type == given.type == schema.TensorType.INT8
        and cell == (options.strideH, options.strideW)
        # Padding is not counted by a pool, and would be by a convolution.
        and not any(side % step for side, step in zip(taken.shape[1:3], cell, strict=True))
        and options.fusedActivationFunction == schema.ActivationFunctionType.NONE
        and taken.quantization.scale[0] == given.quantization.scale[0]
        and taken.quantization.zeroPoint[0] == given.quantization.zeroPoint[0]
    )


def pools_as_convolutions(content: bytes) -> bytes:
    """Returns the file with every int8 average pool without overlap as a depthwise convolution."""
    model = unpack(content)
    tensors = model.subgraphs[0].tensors
    pools = [operator for operator in model.subgraphs[0].operators if _is_plain(model, operator)]
    for number, operator in enumerate(pools):
        pool, taken = operator.builtinOptions, tensors[operator.inputs[0]]
        cell, channels = (pool.filterHeight, pool.filterWidth), int(taken.shape[3])
        share = 1 / math.prod(cell)
        step = float(taken.quantization.scale[0]) * share
        ones, zeros = np.ones((1, *cell, channels), "int8"), np.zeros(channels, "int32")
        weights = _constant(model, f"pool{number}/ones", ones, schema.TensorType.INT8, share)
        # TFLite reads a convolution without a bias, but not every tool does.
        bias = _constant(model, f"pool{number}/zeros", zeros, schema.TensorType.INT32, step)
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.depthMultiplier = schema.Padding.VALID, 1
        options.strideH, options.strideW = cell
        options.dilationHFactor = options.dilationWFactor = 1
        operator.opcodeIndex = add_code(model, schema.BuiltinOperator.DEPTHWISE_CONV_2D, _VERSION)
        operator.inputs = [operator.inputs[0], weights, bias]
        operator.builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
        operator.builtinOptions = options
    return to_content(model, len(content)) if pools else content
