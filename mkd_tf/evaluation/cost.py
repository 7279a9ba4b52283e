"""What a detector costs: multiply-adds, parameters, milliseconds."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mkd_tf.checks import check_positive, fail


def _shape(node_shapes: dict[str, list[list[int]]], tensor: str) -> list[int]:
    # "name", "name:1" in a graph; "name:output:1" in a function of its library.
    name, *rest = tensor.split(":")
    return node_shapes[name][int(rest[-1]) if rest else 0]


def _product(out: list[int], inputs: list[list[int]], attributes: Any) -> int:
    flipped = attributes["transpose_a"].b or attributes["adj_x"].b
    return math.prod(out) * inputs[0][-2 if flipped else -1]


_COUNTED: dict[str, Callable[[list[int], list[list[int]], Any], int]] = {
    # The kernel's own input width: a grouped convolution sees its group alone.
    "Conv2D": lambda out, inputs, _: math.prod(out) * math.prod(inputs[1][:3]),
    "DepthwiseConv2dNative": lambda out, inputs, _: math.prod(out) * math.prod(inputs[1][:2]),
    # Inputs are the size wanted, the kernel `[kh, kw, out, in]` and the image, of which each
    # position meets the whole kernel.
    "Conv2DBackpropInput": lambda out, inputs, _: math.prod(inputs[2]) * math.prod(inputs[1][:3]),
    "MatMul": _product,
    "BatchMatMul": _product,
    "BatchMatMulV2": _product,
}


def _node_macs(node: Any, out: list[int], inputs: list[list[int]]) -> int:
    if node.op not in _COUNTED:
        return 0
    if any(side < 0 for shape in (out, *inputs) for side in shape):
        got, do = f"{inputs} to {out}, where -1 is unknown", "Build the model for one image size."
        fail(f"macs of {node.name}", expected="static shapes", got=got, do=do)
    return _COUNTED[node.op](out, inputs, node.attr)


def _graph_macs(nodes: Sequence[Any], arguments: dict[str, list[list[int]]], library: dict[str, Any]) -> int:
    listed = {n.name: n.attr["_output_shapes"].list.shape for n in nodes}
    shapes = arguments | {name: [[d.size for d in s.dim] for s in found] for name, found in listed.items()}
    total = 0
    for node in nodes:
        inputs = [_shape(shapes, i) for i in node.input if not i.startswith("^")]
        if node.op in ("PartitionedCall", "StatefulPartitionedCall"):
            function = library[node.attr["f"].func.name]
            given = {a.name: [i] for a, i in zip(function.signature.input_arg, inputs, strict=True)}
            total += _graph_macs(function.node_def, given, library)
        elif shapes[node.name]:
            total += _node_macs(node, shapes[node.name][0], inputs)
    return total


def macs(model: keras.Model) -> int:
    """Counts the multiply-adds of one image.

    Counted are convolutions (plain, grouped, depthwise, separable, transposed) and
    matrix products, at every call of a shared layer. Left out, as is usual, are
    biases, normalisation, activations, pooling and resizing. Padding is counted as
    if it were image. The traced graph is read, so that nested models and layers
    of one's own are seen for what they compute. `model` has one image input of static
    height and width: `inference()` of a detector.
    """
    shape = tuple(model.inputs[0].shape[1:])
    if len(model.inputs) != 1 or None in shape:
        expected, do = "one input of static height and width", "Build the model for one image size."
        got = f"inputs of shape {[tuple(i.shape) for i in model.inputs]}"
        fail(f"macs of {model.name}", expected=expected, got=got, do=do)
    image = tf.TensorSpec((1, *shape), model.inputs[0].dtype)
    traced = tf.function(lambda x: model(x, training=False)).get_concrete_function(image)
    graph = traced.graph.as_graph_def(add_shapes=True)
    return _graph_macs(graph.node, {}, {f.signature.name: f for f in graph.library.function})


def parameters(model: keras.Model) -> int:
    """Counts all weights, the statistics of batch norms included; pass a detector's `inference()`."""
    return model.count_params()


def latency_ms(call: Callable[..., Any], *inputs: Any, warm_up: int = 5, runs: int = 30) -> float:
    """Returns the median time of `call(*inputs)` in milliseconds, after `warm_up` calls untimed.

    It measures this machine as it is: other work on it, and the number of threads,
    which TensorFlow fixes at its first op and a caller has to report beside the figure.
    """
    found = interleaved_ms({"": lambda: call(*inputs)}, runs=runs, burst=runs, warm_up=warm_up)
    return statistics.median(found[""])


def interleaved_ms(
    calls: Mapping[str, Callable[[], Any]], *, runs: int = 200, burst: int = 20, warm_up: int = 3
) -> dict[str, list[float]]:
    """Times several calls in turns, so that other work on the machine slows all of them alike.

    In bursts, as a camera's images go to one network: with another one's call before each,
    small networks would be timed with what that left in the caches.

    Returns:
      For each name its `runs` times in milliseconds; `warm_up` calls before each burst are not timed.
    """
    check_positive("runs", runs)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for done in range(0, runs, burst):
        for name, call in calls.items():
            for _ in range(warm_up):
                call()
            for _ in range(min(burst, runs - done)):
                start = time.perf_counter()
                call()
                times[name].append((time.perf_counter() - start) * 1000)
    return times
