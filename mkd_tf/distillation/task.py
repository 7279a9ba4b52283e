"""The detection task: the loss of a network's outputs against labels, one number per example."""

import dataclasses
from typing import Any

import keras
from keras import ops

from mkd_tf.detection import boxes as box_math
from mkd_tf.detection import losses
from mkd_tf.detection.anchors import Anchors
from mkd_tf.detection.types import Arrays, PerExample

DISTRIBUTION_WEIGHT = 0.25
"""Factor of the distribution focal loss, beside a box weight of 2 (Li et al., NeurIPS 2020)."""


def task_names(role: str) -> tuple[str, str]:
    """Returns the names of a role's task terms; the student's have no prefix."""
    return ("class", "box") if role == "student" else (f"{role}_class", f"{role}_box")


@keras.saving.register_keras_serializable("mkd_tf")
@dataclasses.dataclass(frozen=True)
class DetectionTask:
    """The detection loss on labels: quality focal loss on classes, GIoU on boxes.

    >>> import numpy as np, mkd_tf
    >>> anchors = mkd_tf.grid_anchors(32)
    >>> outputs = {"class_logits": np.zeros((1, 21, 2)), "box_encodings": np.zeros((1, 21, 4))}
    >>> background = {"labels": np.full((1, 21), 2), "weights": np.zeros((1, 21), "float32")}
    >>> targets = background | {"boxes": anchors.boxes[None], "known": np.ones(1, "float32")}
    >>> terms = DetectionTask(beta=1.0).terms(outputs, targets, anchors)
    >>> {name: round(float(term[0]), 2) for name, term in terms.items()}  # 42 * log(2) / 2
    {'class': 14.56, 'box': 0.0}

    Attributes:
      beta: exponent of the quality focal loss.
      box_weight: factor of the box term.
    """

    beta: float = 1.0
    box_weight: float = 2.0

    def terms(self, outputs: Arrays, targets: Arrays, anchors: Anchors) -> dict[str, PerExample]:
        """Returns the task's terms of every example.

        Sums over anchors are divided by max(1, summed weight of that example's positives).

        Args:
          outputs: `class_logits` `[B, N, C]` and `box_encodings` `[B, N, 4]` of the network that learns.
          targets: its `labels`, `boxes`, `weights` from `targets.assign`, and `known` `[B]`,
            0 for an image of unknown content: it has no task. With `ignored` `[B, N]`,
            locations that take no part in the class term.
          anchors: of that network.

        Returns:
          `class` and `box`. With `box_logits` among the outputs, `box` also holds the
          distribution focal loss.
        """
        each, overlap, positives = losses.location_losses(outputs, targets, anchors, self.beta)
        classes = ops.sum(each, axis=(1, 2)) / positives * targets["known"]
        boxes = self.box_weight * ops.sum(overlap, axis=-1)
        if "box_logits" in outputs:
            truth = box_math.encode(targets["boxes"], anchors.centers_and_sizes())
            focal = losses.distribution_focal(truth, ops.cast(outputs["box_logits"], "float32"))
            boxes = boxes + DISTRIBUTION_WEIGHT * ops.sum(focal * targets["weights"], axis=-1)
        return {"class": classes, "box": boxes / positives}

    def get_config(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DetectionTask":
        return cls(**config)
