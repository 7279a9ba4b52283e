"""Suppression inside an ONNX file: NonMaxSuppression, and the best detections of all classes.

Outputs, with D the number of detections, best first:

    detection_boxes    [D, 4] float32, yxyx as fractions of the input
    detection_scores   [D] float32
    detection_classes  [D] int64

ONNX's operator keeps what overlaps by at most the threshold, class by class, as
TFLite_Detection_PostProcess and `detection.postprocess` do. Its score threshold is exclusive.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mkd_tf.conversion.onnx.runner import DECODED, SUPPRESSED
from mkd_tf.detection.postprocess import PostprocessConfig

SCORE, COUNT = "score_threshold", "max_detections"


def _inclusive(threshold: float) -> np.ndarray:
    """Returns the largest float32 below a threshold."""
    return np.nextafter(np.float32(threshold), np.float32(0))


def append_suppression(model: onnx.ModelProto, config: PostprocessConfig) -> None:
    """Replaces the outputs `boxes` and `scores` of a batch of 1 by detections, in place."""
    graph = model.graph
    constants = {
        SCORE: np.array([_inclusive(config.score_threshold)], "float32"),
        COUNT: np.array([config.max_detections], "int64"),
        "iou_threshold": np.array([config.iou_threshold], "float32"),
        "only_dimension": np.array([0], "int64"),
        "second": np.array(1, "int64"),
        "third": np.array(2, "int64"),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    boxes, scores = DECODED

    def node(kind: str, inputs: list[str], outputs: list[str], **attributes: int) -> None:
        graph.node.append(helper.make_node(kind, inputs, outputs, f"suppression_{outputs[0]}", **attributes))

    graph.node.append(helper.make_node("Transpose", [scores], ["by_class"], "suppression", perm=[0, 2, 1]))
    node(
        "NonMaxSuppression",
        [boxes, "by_class", COUNT, "iou_threshold", SCORE],
        ["kept"],  # [K, 3]: image, class, box
        center_point_box=0,
    )
    node("GatherND", ["by_class", "kept"], ["kept_scores"])
    node("Shape", ["kept_scores"], ["kept_count"])
    node("Min", ["kept_count", COUNT], ["count"])
    node("TopK", ["kept_scores", "count"], [SUPPRESSED[2], "best"], axis=0)
    node("Gather", ["kept", "best"], ["best_kept"], axis=0)
    node("Gather", ["best_kept", "second"], [SUPPRESSED[1]], axis=1)
    node("Gather", ["best_kept", "third"], ["best_boxes"], axis=1)
    node("Squeeze", [boxes, "only_dimension"], ["all_boxes"])
    node("Gather", ["all_boxes", "best_boxes"], [SUPPRESSED[0]], axis=0)
    del graph.output[:]
    kinds = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT)
    for name, kind, shape in zip(SUPPRESSED, kinds, (["detections", 4], *[["detections"]] * 2), strict=True):
        graph.output.append(helper.make_tensor_value_info(name, kind, shape))


def with_thresholds(model: onnx.ModelProto, threshold: float, count: int) -> None:
    """Changes the thresholds of a model of `append_suppression` in place."""
    values = {SCORE: np.array([_inclusive(threshold)], "float32"), COUNT: np.array([count], "int64")}
    for constant in model.graph.initializer:
        if constant.name in values:
            constant.CopyFrom(numpy_helper.from_array(values[constant.name], constant.name))


def before_suppression(content: bytes) -> bytes:
    """Returns a model of `append_suppression` with the outputs `boxes` and `scores` alone."""
    model = onnx.load_from_string(content)
    first = next(i for i, n in enumerate(model.graph.node) if n.name == "suppression")
    del model.graph.node[first:]
    del model.graph.output[:]
    for name, last in zip(DECODED, (4, "classes"), strict=True):
        model.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "anchors", last])
        )
    return model.SerializeToString()
