"""Rules of the Edge TPU compiler 16.0: which operators it can parse, and which it maps.

The compiler's parser is that of TensorFlow 2.5: an operator or a version it does not know
rejects the whole file. An operator that it parses and cannot map runs on the CPU.

Sources: coral.ai/docs/edgetpu/models-intro (supported operations and their
limitations), the versions that TensorFlow 2.5 registered, the highest versions in
compiled files, public pairs of files before and after the compiler
(`tests/edgetpu/compiled_pairs.json`), and reports of users.
"""

import math
from collections.abc import Callable, Container

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.edgetpu.operators import Operator, Tensor
from mkd_tf.edgetpu.seen import resize_problem

POSTPROCESS = "TFLite_Detection_PostProcess"
PARSER_VERSION = (2, 5, 0)
EIGHT_BIT = ("INT8", "UINT8")
MAX_RANK = 4
MAX_SOFTMAX = 16_000

# The highest version that the parser knows, if it is not 1; and its newest operator.
# fmt: off
_PARSED = {
    "ABS": 3, "ADD": 3, "ARG_MAX": 2, "ARG_MIN": 2, "AVERAGE_POOL_2D": 3, "BATCH_MATMUL": 4,
    "BATCH_TO_SPACE_ND": 3, "BIDIRECTIONAL_SEQUENCE_LSTM": 3, "BIDIRECTIONAL_SEQUENCE_RNN": 3,
    "BROADCAST_TO": 3, "CONCATENATION": 3, "CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "DEPTH_TO_SPACE": 2,
    "DEQUANTIZE": 4, "DIV": 2, "EMBEDDING_LOOKUP": 3, "EQUAL": 3, "FAKE_QUANT": 2, "FILL": 3,
    "FLOOR_DIV": 2, "FULLY_CONNECTED": 9, "GATHER": 5, "GATHER_ND": 3, "GREATER": 2, "GREATER_EQUAL": 2,
    "L2_NORMALIZATION": 2, "LEAKY_RELU": 2, "LESS": 2, "LESS_EQUAL": 2, "LOGISTIC": 3, "LOG_SOFTMAX": 2,
    "LSTM": 4, "MAXIMUM": 4, "MAX_POOL_2D": 3, "MEAN": 3, "MINIMUM": 4, "MIRROR_PAD": 2, "MUL": 4,
    "NOT_EQUAL": 3, "PACK": 3, "PAD": 3, "PADV2": 3, "QUANTIZE": 2, "REDUCE_MAX": 3, "REDUCE_MIN": 3,
    "RELU": 3, "RELU6": 3, "RESIZE_BILINEAR": 4, "RESIZE_NEAREST_NEIGHBOR": 4, "REVERSE_V2": 3, "RNN": 3,
    "RSQRT": 2, "SELECT": 2, "SLICE": 5, "SOFTMAX": 3, "SPACE_TO_BATCH_ND": 3, "SPACE_TO_DEPTH": 2,
    "SPARSE_TO_DENSE": 3, "SPLIT": 4, "SPLIT_V": 2, "SQUARED_DIFFERENCE": 2, "SQUEEZE": 2,
    "STRIDED_SLICE": 5, "SUB": 5, "SUM": 2, "SVDF": 4, "TANH": 3, "TILE": 2, "TOPK_V2": 2,
    "TRANSPOSE": 5, "TRANSPOSE_CONV": 3, "UNIDIRECTIONAL_SEQUENCE_LSTM": 3,
    "UNIDIRECTIONAL_SEQUENCE_RNN": 3, "UNPACK": 4,
}
# fmt: on
_NEWEST = schema.BuiltinOperator.HASHTABLE_SIZE

# Operators that are mapped only up to a version below the highest that is parsed.
_MAPPED_VERSIONS = {"DEPTHWISE_CONV_2D": 3, "RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 2}


def parse_problem(op: Operator) -> str | None:
    """Returns why the compiler cannot parse the operator and rejects the file; None if it can."""
    if op.custom:
        # Other custom operators stay on the CPU, as PosenetDecoderOp does.
        flex = op.name.startswith("Flex")
        return "a TensorFlow operator (Flex), which the compiler does not know" if flex else None
    if op.code > _NEWEST:
        return "the compiler's parser (TensorFlow 2.5) does not know the operator"
    limit = _PARSED.get(op.name, 1)
    if op.version > limit:
        # The converter gives all operators of a kind the version of the newest among them.
        cause = _convolution(op) if op.name == "CONV_2D" else None
        problem = f"version {op.version} is above {limit}, the parser's highest"
        return f"{problem}: {cause}" if cause else problem
    return None


def _input(op: Operator, position: int) -> Tensor | None:
    return op.inputs[position] if position < len(op.inputs) else None


def _constant(op: Operator, position: int) -> np.ndarray | None:
    tensor = _input(op, position)
    return tensor.values() if tensor is not None else None


def _rank(op: Operator) -> int:
    first = _input(op, 0)
    return len(first.shape) if first is not None else 0


def _axes(op: Operator, position: int) -> set[int] | None:
    """Returns the axes in a constant input, counted from 0; None if it is not a constant."""
    axes = _constant(op, position)
    return None if axes is None else {int(a) % max(_rank(op), 1) for a in axes}


def _convolution(op: Operator) -> str | None:
    image, kernel = _input(op, 0), _input(op, 1)
    if kernel is None or not kernel.constant:
        return "its kernel is no constant"
    depth = image.shape[-1] if image and image.shape else 0
    if op.name == "CONV_2D" and kernel.shape and depth > kernel.shape[-1] > 0:
        return f"a grouped convolution ({depth // kernel.shape[-1]} groups)"
    if op.options.get("dilationHFactor", 1) != op.options.get("dilationWFactor", 1):
        return "its dilation differs between height and width"
    return None


def _unfused(op: Operator) -> str | None:
    return "it has a fused activation" if op.options.get("fusedActivationFunction", 0) else None


def _concatenation(op: Operator) -> str | None:
    for tensor in (t for t in op.inputs if t is not None and t.constant):
        values = tensor.values()
        if len(op.inputs) != 2 or values is None or (values != tensor.zero_point).any():
            return "a constant input must be all zeros and one of two inputs"
    return _unfused(op)


def _fully_connected(op: Operator) -> str | None:
    kernel = _input(op, 1)
    if kernel is None or not kernel.constant:
        return "its weights are no constant"
    if op.options.get("weightsFormat", 0):
        return "its weights are not in the default format"
    if any(d > 1 for t in op.outputs for d in t.shape[:-1]):
        return "its output has more than one dimension above 1"
    return None


def _reduction(op: Operator) -> str | None:
    axes, image = _axes(op, 1), _input(op, 0)
    if axes is None or image is None:
        return "its axes are no constant"
    if 0 in axes:
        return "it reduces over the batch"
    if op.name == "MEAN" and len(image.shape) - 1 in axes and image.shape[-1] % 4:
        return f"a mean over {image.shape[-1]} channels, not a multiple of 4"
    return None


def _pad(op: Operator) -> str | None:
    amounts = _constant(op, 1)
    if amounts is None:
        return "its padding is no constant"
    return "it pads the batch" if amounts[:2].any() else None


def _prelu(op: Operator) -> str | None:
    alpha = _input(op, 1)
    if alpha is None or not alpha.constant:
        return "its alpha is no constant"
    if any(d > 1 for d in alpha.shape[:-1]):
        return f"its alpha {list(alpha.shape)} is not one number per channel"
    return None


def _softmax(op: Operator) -> str | None:
    image = _input(op, 0)
    count = math.prod(image.shape) if image is not None else 0
    return f"its input has {count} elements, more than {MAX_SOFTMAX}" if count > MAX_SOFTMAX else None


def _strided_slice(op: Operator) -> str | None:
    strides = _constant(op, 3)
    if strides is None or (strides != 1).any():
        return "its strides are not all 1"
    if op.options.get("ellipsisMask", 0) or op.options.get("newAxisMask", 0):
        return "it has an ellipsis or a new axis"
    return None


def _split(op: Operator) -> str | None:
    axis = _constant(op, 0)
    image = _input(op, 1)
    if axis is None or image is None or not len(axis):
        return "its axis is no constant"
    return "it splits the batch" if int(axis[0]) % max(len(image.shape), 1) == 0 else None


def _squeeze(op: Operator) -> str | None:
    image = _input(op, 0)
    if image is None:
        return "it has no input"
    named = op.options.get("squeezeDims")
    given = [] if named is None else [int(d) for d in np.atleast_1d(named)]
    dims = {d % max(len(image.shape), 1) for d in given} or {i for i, d in enumerate(image.shape) if d == 1}
    return None if dims == set(range(len(dims))) else "it removes other than leading dimensions"


def _pack(op: Operator) -> str | None:
    axis = op.options.get("axis", 0) % max(_rank(op) + 1, 1)
    return "it packs into the batch dimension" if axis == 0 else None


def _tile(op: Operator) -> str | None:
    image, repeated = _input(op, 0), op.outputs[0] if op.outputs else None
    if image is None or repeated is None or len(image.shape) != MAX_RANK:
        return "its input is not a map of [1, height, width, channels]"
    if image.shape[1:3] != (1, 1) or image.shape[3] != repeated.shape[-1]:
        return "it repeats other than one position; only that was seen mapped"
    return None


def _lstm(op: Operator) -> str | None:
    # Inputs: image, 4 + 4 kernels, 3 peepholes, 4 biases, 2 of the projection, 2 states, 4 layer norms.
    optional = [*op.inputs[9:12], *op.inputs[16:18], *op.inputs[20:24]]
    if any(t is not None for t in optional):
        return "it has peepholes, a projection or layer normalisation"
    if any(t is None or not t.constant for t in op.inputs[1:9]):
        return "its kernels are no constants"
    return None


# Every operator that is mapped: those with limitations, and the others.
# fmt: off
_RULES: dict[str, Callable[[Operator], str | None]] = {
    "AVERAGE_POOL_2D": _unfused, "CONCATENATION": _concatenation, "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution, "FULLY_CONNECTED": _fully_connected, "MAX_POOL_2D": _unfused,
    "MEAN": _reduction, "PACK": _pack, "PAD": _pad, "PRELU": _prelu, "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction, "RESIZE_BILINEAR": resize_problem, "SOFTMAX": _softmax, "SPLIT": _split,
    "SQUEEZE": _squeeze, "STRIDED_SLICE": _strided_slice, "SUM": _reduction, "TILE": _tile,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
_UNLIMITED = {
    "ADD", "EXPAND_DIMS", "L2_NORMALIZATION", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "QUANTIZE",
    "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_DEPTH",
    "SUB", "TANH", "TRANSPOSE_CONV",
}
# fmt: on


def _tensor_problem(tensor: Tensor) -> str | None:
    if tensor.constant:
        # Biases, shapes and axes are 32 bit.
        return None if tensor.type in (*EIGHT_BIT, "INT32") else f"a constant is {tensor.type}, not 8 bit"
    if tensor.type not in EIGHT_BIT:
        return f"a tensor is {tensor.type}, not INT8"
    if len(tensor.shape) > MAX_RANK:
        return f"a tensor has rank {len(tensor.shape)}, above {MAX_RANK}"
    if len(tensor.shape) > 1 and tensor.shape[0] != 1:
        return f"a tensor has batch {tensor.shape[0]}, not 1"
    return None


def map_problem(op: Operator) -> str | None:
    """Returns why a parsed operator is not mapped to the Edge TPU; None if it is."""
    if op.custom:
        return "a custom operator"
    if op.name not in _RULES and op.name not in _UNLIMITED:
        return "the operator is not supported"
    limit = _MAPPED_VERSIONS.get(op.name)
    if limit is not None and op.version > limit:
        return f"version {op.version} is above {limit}, the highest that is mapped"
    # The cell state of an LSTM has 16 bit.
    states = op.inputs[19:20] if op.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" else ()
    for tensor in (*op.inputs, *op.outputs):
        if tensor is not None and tensor not in states and (problem := _tensor_problem(tensor)):
            return problem
    return _RULES[op.name](op) if op.name in _RULES else None


def doubt(op: Operator, reshaped: Container[int]) -> str | None:
    """Returns why an operator that is documented as mapped may not be; None if no doubt is known.

    Args:
      op: an operator without a problem.
      reshaped: the indices of tensors that are the output of a RESHAPE.
    """
    if op.name == "SOFTMAX" and any(d > 1 for t in op.outputs for d in t.shape[:-1]):
        # Detectors with such a softmax were reported to be mapped as a whole.
        return "is documented for one dimension, and has more"
    if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D") and any(t and t.index in reshaped for t in op.inputs):
        return "follows a RESHAPE, which was seen mapped at the heads only"
    return None
