"""The heads of an ONNX file, to compare them with those of the float model."""

import numpy as np
from keras import ops

from mkd_tf.conversion.base import Heads
from mkd_tf.conversion.onnx.runner import OnnxRunner
from mkd_tf.detection import boxes
from mkd_tf.detection.postprocess import probabilities
from mkd_tf.detectors.base import Detector


def onnx_heads(content: bytes, images: np.ndarray) -> Heads:
    """Returns `scores` after the sigmoid, and `box_encodings` of a raw file or `boxes` of a decoded one."""
    runner = OnnxRunner(content)
    if runner.is_suppressed:
        from mkd_tf.conversion.onnx.suppression import before_suppression

        runner = OnnxRunner(before_suppression(content))
    outputs = runner.invoke(images)
    if runner.is_raw:
        return {"box_encodings": outputs["box_encodings"], "scores": probabilities(outputs["class_logits"])}
    return outputs


def decoded(detector: Detector, heads: Heads) -> Heads:
    """Returns `parity.keras_heads` with `boxes` `[B, N, 4]`, yxyx as fractions of the input."""
    anchors = (detector.anchors.centers_and_sizes() / detector.image_size).astype("float32")
    found = boxes.decode(ops.convert_to_tensor(heads["box_encodings"], "float32"), anchors)
    return {"boxes": ops.convert_to_numpy(found), "scores": heads["scores"]}
