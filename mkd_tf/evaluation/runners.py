"""Runners: one interface to run any detector.

A runner hides where the network lives, be it a Keras model or an exported file.
Its detections come from the one `postprocess` that all of them share.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

import keras
import numpy as np
import tensorflow as tf

from mkd_tf.checks import check_shape
from mkd_tf.data.image_files import fit_boxes
from mkd_tf.detection.postprocess import Detections, PostprocessConfig, batch_detections
from mkd_tf.detectors.base import Detector


class Runner(Protocol):
    """Finds objects in images that have the model's size.

    Attributes:
      image_size: side of the square images it takes, in pixels.
      class_names: the classes, in the order of the labels it gives.
    """

    image_size: int
    class_names: tuple[str, ...]

    def __call__(self, images: np.ndarray) -> list[Detections]:
        """Returns what is in each of `images` `[B, S, S, 3]`, uint8 or float in 0..255."""
        ...


# Of each detector that lives, its inference model and that model's traced call: a role is measured by several
# runners in turn, and tracing takes longer than a small split. A traced function holds its variables weakly.
_TRACED: WeakKeyDictionary[Detector, tuple[keras.Model, Callable]] = WeakKeyDictionary()


def _forward(detector: Detector) -> Callable:
    """Returns the call from images `[B, S, S, 3]` float32 to predictions by the weights as they are."""
    if detector not in _TRACED:
        model = detector.inference()
        # A free batch dimension: a smaller last batch is not traced again. Not `predict_on_batch`, which
        # compiles with XLA, once for every batch size. Traced here: by its calls, TensorFlow would take every
        # detector's for the same function, and warn of retracing from the fifth on.
        images = tf.TensorSpec([None, detector.image_size, detector.image_size, 3], tf.float32)
        forward = tf.function(lambda x: model(x, training=False), input_signature=[images], autograph=False)
        _TRACED[detector] = model, forward.get_concrete_function()
    return _TRACED[detector][1]


class KerasRunner:
    """Runs a detector in inference mode and changes no variable of it.

    It reads the weights as they are at each call; a network is traced once, for all its runners.
    """

    def __init__(self, detector: Detector, postprocess: PostprocessConfig | None = None):
        self.image_size = detector.image_size
        self.class_names = tuple(detector.class_names)
        self.operating_point = detector.operating_point
        self._anchors = detector.anchors.centers_and_sizes() / detector.image_size
        self._postprocess = postprocess
        self._forward = _forward(detector)

    def __call__(self, images: np.ndarray) -> list[Detections]:
        """Returns what is in each of `images` `[B, S, S, 3]`, uint8 or float in 0..255.

        Raises:
          MkdError: if the images do not have the detector's size.
        """
        check_shape("images", images.shape, (None, self.image_size, self.image_size, 3))
        outputs = self._forward(tf.constant(images, tf.float32))
        return batch_detections(
            outputs["class_logits"].numpy(),
            outputs["box_encodings"].numpy(),
            self._anchors,
            self._postprocess,
        )


def on_original(found: Detections, height_width: tuple[int, int], fit: str) -> Detections:
    """Carries detections from a fitted image back to the original it was made from.

    Args:
      found: boxes as fractions of the fitted square.
      height_width: of the original image in pixels.
      fit: how it was fitted, `stretch` or `letterbox`.

    Returns:
      boxes as fractions of the original, clipped to it; those in the padding alone are gone.
    """
    # The place of the whole original in the square gives scale and offset.
    whole = np.array([[0, 0, 1, 1]], "float32")
    frame = np.asarray(fit_boxes(whole, height_width, fit), "float32").reshape(4)
    scale = np.tile(frame[2:] - frame[:2], 2)
    boxes = np.clip((found.boxes - np.tile(frame[:2], 2)) / scale, 0, 1).astype("float32")
    inside = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return Detections(boxes[inside], found.scores[inside], found.labels[inside])


def on_fitted(found: Detections, height_width: tuple[int, int], fit: str) -> Detections:
    """Carries detections from an original to the fitted image, the way back of `on_original`."""
    return dataclasses.replace(found, boxes=np.asarray(fit_boxes(found.boxes, height_width, fit), "float32"))
