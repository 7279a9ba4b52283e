"""A source without a network: a teacher whose detections come with the batch.

The batch holds its outputs under `answers`, one `[B, ...]` array for each name, as
`detection.from_detections.outputs_at_anchors` makes them: `class_logits`, `box_encodings`
and `matched`. Strategies read them as the outputs of a network that has these anchors.
"""

from typing import Any

import keras
import numpy as np

from mkd_tf.detection.anchors import Anchors
from mkd_tf.strategies.base import Port


@keras.saving.register_keras_serializable("mkd_tf")
class Answers:
    """Stands for the teacher of a `Distiller` that only answers with detections.

    >>> import mkd_tf
    >>> answers = Answers(mkd_tf.grid_anchors(64), num_classes=3)
    >>> answers.port().shapes
    {'class_logits': (84, 3), 'box_encodings': (84, 4), 'matched': (84,)}

    Args:
      anchors: at which the outputs are, N of them.
      num_classes: C.
    """

    def __init__(self, anchors: Anchors, num_classes: int):
        self.anchors, self.num_classes = anchors, num_classes

    def port(self) -> Port:
        """Returns the static shapes of the outputs, and the anchors; there is no head."""
        count = len(self.anchors)
        shapes = {"class_logits": (count, self.num_classes), "box_encodings": (count, 4), "matched": (count,)}
        return Port(shapes, self.anchors)

    def get_config(self) -> dict[str, Any]:
        return {
            "boxes": np.asarray(self.anchors.boxes, "float64").tolist(),
            "level_counts": list(self.anchors.level_counts),
            "image_size": self.anchors.image_size,
            "num_classes": self.num_classes,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Answers":
        anchors = Anchors.from_boxes(config["boxes"], config["image_size"], config["level_counts"])
        return cls(anchors, config["num_classes"])
