"""The function that a TFLite file is converted from: one image, batch 1, all shapes static.

Two inputs:

    pixels     `[1, S, S, 3]` in 0..255; the detector with its Rescaling
    scaled     `[1, S, S, 3]`, in -1..1 unless the model was adapted; its core alone,
               for files whose uint8 input is the normalisation: quantisation with a
               step of 1/127.5

Two forms of output:

    raw        `class_logits` `[1, N, C]`, `box_encodings` `[1, N, 4]`
    detection  `output_0` count `[1]`, `output_1` scores `[1, D]`, `output_2` classes
               `[1, D]`, `output_3` boxes `[1, D, 4]` yxyx as fractions of the input

The names of `detection` are those that Coral's Python client reads.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mkd_tf.detection.boxes import SCALE_CENTER, SCALE_SIZE
from mkd_tf.detection.postprocess import PostprocessConfig
from mkd_tf.detectors.base import Detector

POSTPROCESS_OP = "TFLite_Detection_PostProcess"
DETECTION_OUTPUTS = {"output_0": "count", "output_1": "scores", "output_2": "classes", "output_3": "boxes"}


def _attribute(name: str, value: bool | int | float) -> str:
    # bool before int, which it is a kind of.
    if isinstance(value, bool):
        text = f"b: {str(value).lower()}"
    else:
        text = f"{'i' if isinstance(value, int) else 'f'}: {value!r}"
    return f'attr {{ key: "{name}" value {{ {text} }} }}'


def postprocess_op(num_classes: int, config: PostprocessConfig) -> Callable[..., Any]:
    """Returns the function that the converter replaces by the custom op.

    Its arguments are box encodings `[1, N, 4]`, scores `[1, N, C + 1]` with the
    background first, and anchors `[N, 4]` (ycenter, xcenter, height, width) as
    fractions; it returns boxes, classes, scores and count. The body only declares the
    shapes: it is not part of the file.
    """
    attributes: dict[str, bool | int | float] = {
        "max_detections": config.max_detections,
        "max_classes_per_detection": 1,
        "use_regular_nms": True,
        "nms_score_threshold": config.score_threshold,
        "nms_iou_threshold": config.iou_threshold,
        "y_scale": SCALE_CENTER,
        "x_scale": SCALE_CENTER,
        "h_scale": SCALE_SIZE,
        "w_scale": SCALE_SIZE,
        "num_classes": num_classes,
    }
    listed = " ".join(_attribute(name, value) for name, value in attributes.items())

    @tf.function(experimental_implements=f'name: "{POSTPROCESS_OP}" {listed}')
    def postprocess(box_encodings: Any, scores: Any, anchors: Any) -> tuple[Any, ...]:
        del box_encodings, scores, anchors
        count = config.max_detections
        return tf.zeros([1, count, 4]), tf.zeros([1, count]), tf.zeros([1, count]), tf.zeros([1])

    return postprocess


def _probabilities(scores: Any) -> Any:
    """Emulates the only integers that TFLite's int8 sigmoid has: steps of 1/256 from 0."""
    return tf.quantization.fake_quant_with_min_max_args(scores, 0.0, 255 / 256)


def _detections(
    outputs: dict[str, Any], anchors: np.ndarray, num_classes: int, config: PostprocessConfig, emulated: bool
) -> dict[str, Any]:
    # A student that emulates integers holds the range of each tensor; a sigmoid without one stays float.
    ranged = _probabilities if emulated else tf.identity
    scores = ranged(tf.sigmoid(outputs["class_logits"]))
    # The background is added after the sigmoid: as a logit it would have to be so low that it
    # would take the int8 range of all other logits.
    scores = ranged(tf.concat([tf.zeros([1, len(anchors), 1]), scores], axis=-1))
    boxes, classes, best, count = postprocess_op(num_classes, config)(
        outputs["box_encodings"], scores, tf.constant(anchors)
    )
    found = {"count": count, "scores": best, "classes": classes, "boxes": boxes}
    return {name: found[what] for name, what in DETECTION_OUTPUTS.items()}


def serving_module(
    detector: Detector, *, scaled_input: bool, postprocess: str, config: PostprocessConfig
) -> tf.Module:
    """Returns a module whose `serve` is the function to convert.

    Args:
      detector: whose weights are used as they are.
      scaled_input: whether the input is the core's.
      postprocess: `detection` or `raw`.
      config: of the non-maximum suppression in `detection`.
    """
    model: keras.Model = detector.inference_core() if scaled_input else detector.inference()
    anchors = (detector.anchors.centers_and_sizes() / detector.image_size).astype("float32")
    module = tf.Module()
    # Keras 3 hides its tf.Variables in wrappers that a tf.Module does not track, and untracked
    # variables are missing from the file.
    module.tracked = [v.value for v in model.variables]
    side = detector.image_size

    @tf.function(input_signature=[tf.TensorSpec([1, side, side, 3], tf.float32, name="images")])
    def serve(images: Any) -> dict[str, Any]:
        outputs = model(images, training=False)
        if postprocess == "detection":
            count, emulated = len(detector.class_names), detector.is_quantized
            outputs = _detections(outputs, anchors, count, config, emulated)
        return {name: tf.identity(x, name=name) for name, x in outputs.items()}

    module.serve = serve
    return module
