"""Each limitation of an operator, on both sides of its border."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.edgetpu.rules import POSTPROCESS, map_problem, parse_problem
from tests.edgetpu.edgetpu_models import operator, tensor

MAP = tensor(0, (1, 8, 8, 4))
FLAT = tensor(0, (1, 4))


def _numbers(*values: int, index: int = 5):
    return tensor(index, (len(values),), "INT32", value=np.array(values, "int32"))


def _weights(*shape: int):
    return tensor(6, shape, value=np.ones(shape, "int8"))


def _one(name: str, *inputs, out=None, version=1, **options):
    return operator(name, list(inputs), [out or tensor(9, (1, 8, 8, 4))], version, options=options)


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("CONV_2D", 5, None),
        ("CONV_2D", 6, "version 6 is above 5"),
        ("DEPTHWISE_CONV_2D", 6, None),
        ("DEPTHWISE_CONV_2D", 7, "version 7 is above 6"),
        # Versions whose refusal its users reported.
        ("QUANTIZE", 2, None),
        ("QUANTIZE", 3, "version 3 is above 2"),
        ("TRANSPOSE_CONV", 4, "version 4 is above 3"),
        ("EXP", 1, None),
        ("EXP", 2, "version 2 is above 1"),
        ("HARD_SWISH", 1, None),
        (POSTPROCESS, 1, None),
    ],
)
def test_what_the_parser_reads(name, version, told):
    problem = parse_problem(operator(name, [MAP, _weights(4, 3, 3, 4)], [MAP], version))
    assert problem is None if told is None else problem.startswith(told)


def test_the_parser_refuses_flex_and_new_operators():
    assert "Flex" in parse_problem(operator("FlexErf", [MAP], [MAP], custom=True))
    # A custom operator stays on the CPU, by the name of a known one too.
    for name in ("PosenetDecoderOp", "CONV_2D"):
        custom = operator(name, [MAP, _weights(4, 3, 3, 4)], [MAP], custom=True)
        assert parse_problem(custom) is None
        assert map_problem(custom) == "a custom operator"
    newest = schema.BuiltinOperator.HASHTABLE_SIZE
    assert parse_problem(operator("HASHTABLE_SIZE", [MAP], [MAP], code=newest)) is None
    assert "does not know" in parse_problem(operator("REDUCE_ALL", [MAP], [MAP], code=newest + 1))


@pytest.mark.parametrize(
    ("op", "told"),
    [
        (_one("TILE", MAP), "it repeats other than one position"),
        (_one("TILE", tensor(0, (1, 1, 1, 4))), None),
        (_one("TILE", tensor(0, (1, 1, 1, 2))), "it repeats other than one position"),
        (_one("TILE", tensor(0, (1, 1, 4))), "its input is not a map"),
        (_one("LEAKY_RELU", MAP), "the operator is not supported"),
        (_one("TRANSPOSE", MAP), "the operator is not supported"),
        (_one("RESIZE_NEAREST_NEIGHBOR", MAP, version=2), None),
        (_one("RESIZE_NEAREST_NEIGHBOR", MAP, version=3), "version 3 is above 2"),
        (_one("RESIZE_BILINEAR", MAP, version=3), None),
        (_one("RESIZE_BILINEAR", MAP, version=4), "version 4 is above 3"),
        (_one("DEPTHWISE_CONV_2D", MAP, _weights(1, 3, 3, 4), version=4), "version 4 is above 3"),
        # Tensors.
        (_one("RELU", tensor(0, MAP.shape, "UINT8")), None),
        (_one("RELU", tensor(0, MAP.shape, "INT16")), "a tensor is INT16, not INT8"),
        (_one("RELU", MAP, out=tensor(9, MAP.shape, "FLOAT32")), "a tensor is FLOAT32, not INT8"),
        (_one("RELU", tensor(0, (2, 8, 8, 4))), "a tensor has batch 2, not 1"),
        (_one("RELU", tensor(0, (1, 1, 8, 8, 4))), "a tensor has rank 5, above 4"),
        (_one("ADD", MAP, tensor(5, (4,), "FLOAT32", value=np.ones(4, "f4"))), "a constant is FLOAT32"),
        (_one("ADD", MAP, None), None),
        # Convolutions.
        (_one("CONV_2D", MAP, _weights(4, 3, 3, 4)), None),
        (_one("CONV_2D", MAP, _weights(4, 3, 3, 2)), "a grouped convolution (2 groups)"),
        (_one("CONV_2D", MAP, MAP), "its kernel is no constant"),
        (_one("CONV_2D", MAP), "its kernel is no constant"),
        (_one("CONV_2D", MAP, _weights(4, 3, 3, 4), dilationHFactor=2, dilationWFactor=2), None),
        (_one("CONV_2D", MAP, _weights(4, 3, 3, 4), dilationHFactor=2), "its dilation differs"),
        (_one("DEPTHWISE_CONV_2D", MAP, _weights(1, 3, 3, 4)), None),
        (_one("FULLY_CONNECTED", FLAT, _weights(2, 4), out=tensor(9, (1, 2))), None),
        (_one("FULLY_CONNECTED", MAP, _weights(2, 4)), "its output has more than one dimension above 1"),
        (
            _one("FULLY_CONNECTED", FLAT, _weights(2, 4), out=tensor(9, (1, 2)), weightsFormat=1),
            "default format",
        ),
        # Pools and joins.
        (_one("MAX_POOL_2D", MAP), None),
        (_one("MAX_POOL_2D", MAP, fusedActivationFunction=1), "it has a fused activation"),
        (_one("AVERAGE_POOL_2D", MAP, fusedActivationFunction=3), "it has a fused activation"),
        (_one("CONCATENATION", MAP, MAP), None),
        (_one("CONCATENATION", MAP, MAP, fusedActivationFunction=1), "it has a fused activation"),
        (_one("CONCATENATION", MAP, _weights(1, 2)), "a constant input must be all zeros"),
        (_one("CONCATENATION", MAP, tensor(5, (1, 2), value=np.int8([-128, -128]), zero_point=-128)), None),
        (
            _one("CONCATENATION", MAP, tensor(5, (1, 2), value=np.int8([-128, 0]), zero_point=-128)),
            "all zeros",
        ),
        (_one("CONCATENATION", MAP, MAP, tensor(5, (1, 1), value=np.int8([0]))), "one of two inputs"),
        (_one("PACK", MAP, MAP, axis=1), None),
        (_one("PACK", FLAT, FLAT, axis=0), "it packs into the batch"),
        (_one("PACK", FLAT, FLAT, axis=-3), "it packs into the batch"),
        # Reductions.
        (_one("MEAN", MAP, _numbers(1, 2)), None),
        (_one("MEAN", MAP, _numbers(0, 1)), "it reduces over the batch"),
        (_one("MEAN", MAP, _numbers(-4)), "it reduces over the batch"),
        (_one("MEAN", MAP, _numbers(3)), None),
        (_one("MEAN", tensor(0, (1, 8, 8, 6)), _numbers(-1)), "a mean over 6 channels, not a multiple of 4"),
        (_one("MEAN", tensor(0, (1, 64, 6)), _numbers(-1)), "a mean over 6 channels, not a multiple of 4"),
        (_one("MEAN", tensor(0, (1, 64, 4)), _numbers(0)), "it reduces over the batch"),
        (_one("SUM", tensor(0, (1, 8, 8, 6)), _numbers(-1)), None),
        (_one("REDUCE_MAX", MAP, _numbers(0)), "it reduces over the batch"),
        (_one("MEAN", MAP, FLAT), "its axes are no constant"),
        # Shapes.
        (_one("PAD", MAP, _numbers(0, 0, 1, 1, 1, 1, 0, 0)), None),
        (_one("PAD", MAP, _numbers(0, 1, 1, 1, 1, 1, 0, 0)), "it pads the batch"),
        (_one("PAD", tensor(0, (1, 8, 4)), _numbers(1, 0, 0, 0, 0, 0)), "it pads the batch"),
        (_one("PAD", MAP, FLAT), "its padding is no constant"),
        (_one("PADV2", MAP, _numbers(0, 0, 1, 1, 1, 1, 0, 0)), "the operator is not supported"),
        (_one("STRIDED_SLICE", MAP, _numbers(0), _numbers(1), _numbers(1, 1, 1, 1)), None),
        (
            _one("STRIDED_SLICE", MAP, _numbers(0), _numbers(1), _numbers(1, 2, 2, 1)),
            "its strides are not all 1",
        ),
        (_one("STRIDED_SLICE", MAP, _numbers(0), _numbers(1), _numbers(1), newAxisMask=1), "a new axis"),
        (_one("STRIDED_SLICE", MAP, _numbers(0), _numbers(1), _numbers(1), ellipsisMask=1), "an ellipsis"),
        (_one("SPLIT", _numbers(3), MAP), None),
        (_one("SPLIT", _numbers(0), MAP), "it splits the batch"),
        (_one("SPLIT", _numbers(-4), MAP), "it splits the batch"),
        (_one("SQUEEZE", tensor(0, (1, 1, 8, 4)), squeezeDims=np.array([0, 1])), None),
        (_one("SQUEEZE", tensor(0, (1, 1, 8, 4))), None),
        (
            _one("SQUEEZE", tensor(0, (1, 8, 1, 4)), squeezeDims=np.array([2])),
            "other than leading dimensions",
        ),
        (
            _one("SQUEEZE", tensor(0, (1, 8, 1, 4)), squeezeDims=np.array([-2])),
            "other than leading dimensions",
        ),
        # Activations.
        (_one("PRELU", MAP, _weights(1, 1, 4)), None),
        (_one("PRELU", MAP, _weights(8, 8, 4)), "its alpha [8, 8, 4] is not one number per channel"),
        (_one("SOFTMAX", tensor(0, (1, 16_000))), None),
        (_one("SOFTMAX", tensor(0, (1, 16_001))), "its input has 16001 elements, more than 16000"),
        (_one("SOFTMAX", tensor(0, (1, 2, 8000))), None),
        (_one("SOFTMAX", tensor(0, (1, 2, 8001))), "its input has 16002 elements, more than 16000"),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_what_is_mapped(op, told):
    problem = map_problem(op)
    assert problem is None if told is None else told in (problem or "")
