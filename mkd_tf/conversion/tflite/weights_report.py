"""The weights of a TFLite file: zeros, shared values, and the size when zipped.

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

import zlib

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mkd_tf.conversion.tflite.model_file import DTYPES, constant, operator_name, unpack
from mkd_tf.schemas.deployment import Kernel, Weights

# The axis of a kernel that is its output channels.
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}


def weights_report(content: bytes) -> Weights:
    """Returns the figures of a TFLite file, for `manifest.json`.

    Kernels are in the order of use, each once, however many operators share it;
    `zipped_bytes` is the file's size deflated (zlib, level 9), without a zip archive's header.
    """
    model = unpack(content)
    kernels: dict[int, Kernel] = {}
    for graph in model.subgraphs:
        # A float16 file stores weights in halves, which an operator widens.
        widened = {
            int(x.outputs[0]): int(x.inputs[0])
            for x in graph.operators
            if operator_name(model, x) == "DEQUANTIZE"
        }
        for operator in graph.operators:
            name = operator_name(model, operator)
            if name not in _CHANNEL_AXIS:
                continue
            index = int(operator.inputs[1])
            tensor = graph.tensors[widened.get(index, index)]
            data = model.buffers[tensor.buffer].data
            # Without data it is computed; types without a NumPy form, as int4, are not exported here.
            if data is not None and len(data) and tensor.type in DTYPES:
                kernels.setdefault(tensor.buffer, _kernel(tensor, name, constant(model, tensor)))
    count = sum(k["count"] for k in kernels.values())
    zeros = sum(k["zeros"] * k["count"] for k in kernels.values())
    return {
        "kernels": list(kernels.values()),
        "count": count,
        "zeros": zeros / count if count else 0.0,
        "bytes": len(content),
        "zipped_bytes": len(zlib.compress(content, 9)),
    }


def _kernel(tensor: schema.TensorT, operator: str, values: np.ndarray) -> Kernel:
    axis = _CHANNEL_AXIS[operator]
    channels = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    quantization = tensor.quantization
    points = quantization.zeroPoint if quantization is not None else None
    # One for the tensor, one for each channel, or, in a float file, none.
    zero = np.zeros(1, "int64") if points is None or not len(points) else np.asarray(points)
    return {
        "name": tensor.name.decode(),
        "operator": operator,
        "shape": list(values.shape),
        "dtype": values.dtype.name,
        "count": values.size,
        "zeros": float((channels == zero[:, None]).mean()),
        "distinct": len(np.unique(values)),
        "distinct_per_channel": max(len(np.unique(channel)) for channel in channels),
    }
