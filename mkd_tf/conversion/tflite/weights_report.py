"""What became of the weights in a TFLite file: zeros, shared values, and the size when zipped.

Pruning and clustering make no file smaller by themselves; they show where it is compressed, as
app stores and firmware updates do. Which figure shows which:

    zeros                 share of weights that are 0 (an integer's zero point counts as 0)
    distinct              different stored values of a tensor
    distinct_per_channel  the most that one output channel has: the figure for clusters. A batch
                          norm that was folded in scales every channel by a factor of its own,
                          and so does int8's scale per channel: k clusters become up to k values
                          times as many as there are channels, but stay at most k in each.
                          `distinct` is at most k only in a float file without batch norms.
"""

import dataclasses
import zlib
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.conversion.tflite.model_file import operator_code, unpack

_BUILTIN = schema.BuiltinOperator
# The axis of a kernel that is its output channels.
_CHANNEL_AXIS = {_BUILTIN.CONV_2D: 0, _BUILTIN.DEPTHWISE_CONV_2D: 3, _BUILTIN.FULLY_CONNECTED: 0}
_DTYPES: dict[int, np.dtype] = {
    schema.TensorType.FLOAT32: np.dtype("float32"),
    schema.TensorType.FLOAT16: np.dtype("float16"),
    schema.TensorType.INT8: np.dtype("int8"),
    schema.TensorType.UINT8: np.dtype("uint8"),
}


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The weights of one or more operators.

    Attributes:
      name: of the tensor.
      operator: `CONV_2D`, `DEPTHWISE_CONV_2D` or `FULLY_CONNECTED`.
      shape: as stored.
      dtype: as stored.
      count: how many weights.
      zeros: share of them that are 0.
      distinct: different values in the tensor.
      distinct_per_channel: the most different values of one output channel.
    """

    name: str
    operator: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    zeros: float
    distinct: int
    distinct_per_channel: int


@dataclasses.dataclass(frozen=True)
class WeightsReport:
    """All weights of a file.

    Attributes:
      kernels: in the order of use, each once, however many operators share it.
      count: weights in all.
      zeros: share of all weights that are 0.
      bytes: size of the file.
      zipped_bytes: its size deflated (zlib, level 9), without a zip archive's header.
    """

    kernels: tuple[Kernel, ...]
    count: int
    zeros: float
    bytes: int
    zipped_bytes: int

    def summary(self) -> dict[str, Any]:
        """Returns plain values for `manifest.json`."""
        return dataclasses.asdict(self)


def weights_report(content: bytes) -> WeightsReport:
    """Returns the figures of a TFLite file."""
    model = unpack(content)
    kernels: dict[int, Kernel] = {}
    for graph in model.subgraphs:
        # A float16 file stores weights in halves, which an operator widens.
        widened = {
            int(x.outputs[0]): int(x.inputs[0])
            for x in graph.operators
            if operator_code(model, x) == _BUILTIN.DEQUANTIZE
        }
        for operator in graph.operators:
            code = operator_code(model, operator)
            if code not in _CHANNEL_AXIS:
                continue
            index = int(operator.inputs[1])
            tensor = graph.tensors[widened.get(index, index)]
            data = model.buffers[tensor.buffer].data
            # Without data it is computed; another type, as int4, is none that is exported here.
            if data is not None and len(data) and tensor.type in _DTYPES:
                kernels.setdefault(tensor.buffer, _kernel(tensor, code, bytes(data)))
    count = sum(k.count for k in kernels.values())
    zeros = sum(k.zeros * k.count for k in kernels.values())
    return WeightsReport(
        kernels=tuple(kernels.values()),
        count=count,
        zeros=zeros / count if count else 0.0,
        bytes=len(content),
        zipped_bytes=len(zlib.compress(content, 9)),
    )


def _kernel(tensor: schema.TensorT, code: int, data: bytes) -> Kernel:
    values = np.frombuffer(data, _DTYPES[tensor.type]).reshape(tensor.shape)
    channels = np.moveaxis(values, _CHANNEL_AXIS[code], 0).reshape(values.shape[_CHANNEL_AXIS[code]], -1)
    quantization = tensor.quantization
    points = quantization.zeroPoint if quantization is not None else None
    # One for the tensor, one for each channel, or, in a float file, none.
    zero = np.zeros(1, "int64") if points is None or not len(points) else np.asarray(points)
    return Kernel(
        name=tensor.name.decode(),
        operator=next(name for name, value in vars(_BUILTIN).items() if value == code),
        shape=values.shape,
        dtype=values.dtype.name,
        count=values.size,
        zeros=float((channels == zero[:, None]).mean()),
        distinct=len(np.unique(values)),
        distinct_per_channel=max(len(np.unique(channel)) for channel in channels),
    )
