"""Networks of a few nodes that keep to the contract of a family: what they see decides their scores.

The scores of the one real box are the mean of each input channel, so that a wrong
normalisation, order of channels or padding changes them; the boxes are constants.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mkd_tf.teachers import TeacherImage

SIDE = 64
COLOUR = np.array([204, 102, 51], "uint8")
"""The one colour of `image`: 0.8, 0.4, 0.2."""


def image(height: int = 50, width: int = 100, name: str = "a.jpg") -> TeacherImage:
    """An image of one colour."""
    pixels = np.full((height, width, 3), COLOUR)
    return TeacherImage(name, name, (height, width), lambda: pixels)


def letterboxed(channels: Sequence[float], share: float = 0.5, padding: float = 114 / 255) -> np.ndarray:
    """The mean of channels of which `share` of the input is the image and the rest padding."""
    return np.array(channels) * share + padding * (1 - share)


def network(
    path: Path,
    constants: Mapping[str, np.ndarray],
    nodes: Sequence[onnx.NodeProto],
    outputs: Mapping[str, Sequence[int]],
    *,
    input_name: str = "images",
    others: Mapping[str, Sequence[int]] | None = None,
    shape: Sequence[int | str] = (1, 3, SIDE, SIDE),
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Writes an ONNX file whose nodes may use `means`, `[1, 3]`: the mean of each channel."""
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    first = helper.make_node("ReduceMean", [input_name], ["means"], axes=axes, keepdims=0)
    inputs = [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape)]
    for name, size in (others or {}).items():
        inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, size))
    graph = helper.make_graph(
        [first, *nodes],
        "stub",
        inputs,
        [
            helper.make_tensor_value_info(
                n, TensorProto.INT64 if n == "labels" and len(s) == 2 else TensorProto.FLOAT, s
            )
            for n, s in outputs.items()
        ],
        [numpy_helper.from_array(x, name) for name, x in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return str(path)


def joined(boxes: np.ndarray, extra: int, axis: int) -> tuple[dict, list]:
    """`[boxes, means, zeros]` of one candidate and others without scores, along `axis` of `[1, ., .]`.

    Args:
      boxes: `[N, 4]`; the scores of the first box are the means.
      extra: classes beside the three.
      axis: 1 for rows `[4 + C, N]`, 2 for `[N, 4 + C]`.
    """
    count = len(boxes)
    rest = np.zeros((1, count - 1, 3), "float32")
    zeros = np.zeros((1, count, extra), "float32")
    constants = {"box": boxes[None].astype("float32"), "rest": rest, "zeros": zeros}
    constants["axes"] = np.array([1], "int64")
    nodes = [
        helper.make_node("Unsqueeze", ["means", "axes"], ["row"]),
        helper.make_node("Concat", ["row", "rest"], ["scored"], axis=1),
        helper.make_node("Concat", ["box", "scored", "zeros"], ["wide"], axis=2),
    ]
    if axis == 1:
        nodes.append(helper.make_node("Transpose", ["wide"], ["output0"], perm=[0, 2, 1]))
    else:
        nodes.append(helper.make_node("Identity", ["wide"], ["output0"]))
    return constants, nodes


def yolo(path: Path, names: Sequence[str], boxes: np.ndarray, **options) -> str:
    """YOLOv8's head: `output0` `[1, 4 + C, N]`, with Ultralytics' metadata."""
    constants, nodes = joined(boxes, len(names) - 3, axis=1)
    metadata = {"names": str(dict(enumerate(names))), "imgsz": f"[{SIDE}, {SIDE}]", "task": "detect"}
    outputs = {"output0": [1, 4 + len(names), len(boxes)]}
    return network(path, constants, nodes, outputs, **{"metadata": metadata} | options)


def detr(path: Path, num_scores: int, place: int, *, swapped: bool = False, box=(0.5, 0.5, 0.2, 0.4)) -> str:
    """RF-DETR's head: `dets` `[1, 2, 4]` and `labels` `[1, 2, C]`; logits from `place` on are means."""
    low = np.full((1, 2, num_scores), -9, "float32")
    constants = {
        "dets_value": np.array([[box, (0.1, 0.1, 0.1, 0.1)]], "float32"),
        "before": low[:, :1, :place],
        "after": low[:, :1, place + 3 :],
        "other": low[:, 1:],
        "axes": np.array([1], "int64"),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["means", "axes"], ["row"]),
        helper.make_node("Concat", ["before", "row", "after"], ["first"], axis=2),
        helper.make_node("Concat", ["first", "other"], ["labels"], axis=1),
        helper.make_node("Identity", ["dets_value"], ["dets"]),
    ]
    outputs = {"dets": [1, 2, 4], "labels": [1, 2, num_scores]}
    outputs = dict(reversed(outputs.items())) if swapped else outputs
    return network(path, constants, nodes, outputs, input_name="input")


def rt_detr(path: Path, label: int) -> str:
    """D-FINE's head: boxes in pixels of the original, whose width and height are an input."""
    constants = {
        "fractions": np.array([[[0.25, 0.1, 0.75, 0.9]]], "float32"),
        "label": np.array([[label]], "int64"),
        "first": np.array([0], "int64"),
        "axes": np.array([1], "int64"),
    }
    nodes = [
        helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["size", "size"], ["sizes"], axis=1),
        helper.make_node("Unsqueeze", ["sizes", "axes"], ["row"]),
        helper.make_node("Mul", ["fractions", "row"], ["boxes"]),
        helper.make_node("Identity", ["label"], ["labels"]),
        helper.make_node("Gather", ["means", "first"], ["scores"], axis=1),
    ]
    outputs = {"scores": [1, 1], "labels": [1, 1], "boxes": [1, 1, 4]}
    return network(path, constants, nodes, outputs, others={"orig_target_sizes": [1, 2]})


def yolo26(path: Path, names: Sequence[str], label: int) -> str:
    """YOLO26's head: `output0` `[1, 4, 6]`, one row that is real and three of padding."""
    constants = {"box": np.array([[[24, 28, 40, 36]]], "float32"), "first": np.array([0], "int64")}
    constants |= {"label": np.array([[[label]]], "float32"), "axes": np.array([1], "int64")}
    constants["padding"] = np.zeros((1, 3, 6), "float32")
    nodes = [
        helper.make_node("Gather", ["means", "first"], ["score"], axis=1),
        helper.make_node("Unsqueeze", ["score", "axes"], ["row"]),
        helper.make_node("Concat", ["box", "row", "label"], ["one"], axis=2),
        helper.make_node("Concat", ["one", "padding"], ["output0"], axis=1),
    ]
    metadata = {"names": str(dict(enumerate(names))), "imgsz": f"[{SIDE}, {SIDE}]"}
    return network(path, constants, nodes, {"output0": [1, 4, 6]}, metadata=metadata)
