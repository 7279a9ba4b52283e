"""From class logits and box encodings to detections, in NumPy.

The parameters and their meaning are those of the `TFLite_Detection_PostProcess`
op with regular (per-class) non-maximum suppression, so that a Keras model and
its exported file find the same objects.
"""

import dataclasses

import numpy as np
from keras import ops

from mkd_tf.checks import check_shape
from mkd_tf.detection import boxes as box_math
from mkd_tf.detection.types import Float, Int
from mkd_tf.options import LOWEST_SCORE


@dataclasses.dataclass(frozen=True)
class PostprocessConfig:
    """Parameters of the non-maximum suppression."""

    score_threshold: float = LOWEST_SCORE
    iou_threshold: float = 0.6
    max_detections: int = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """The objects detected in one image, best first.

    Attributes:
      boxes: `[D, 4]` float32 yxyx, as fractions of the image.
      scores: `[D]` float32 in 0..1.
      labels: `[D]` int32.
    """

    boxes: Float[np.ndarray, "detections 4"]
    scores: Float[np.ndarray, " detections"]
    labels: Int[np.ndarray, " detections"]

    def above(self, score: float) -> "Detections":
        """Returns the detections of at least this score."""
        keep = self.scores >= score
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep])

    def __len__(self) -> int:
        return len(self.scores)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[2] - boxes[0], 0) * np.maximum(boxes[3] - boxes[1], 0)


def select(
    scores: Float[np.ndarray, "anchors classes"],
    boxes: Float[np.ndarray, "_ 4"],
    config: PostprocessConfig | None = None,
) -> Detections:
    """Keeps the best of one image's boxes: greedy suppression within each class.

    All classes are walked together, from the best score down, and the walk stops at the
    last detection wanted. Classes do not affect each other, so the result is that of
    suppressing each class on its own and keeping the best of all. Of equal scores the
    lower label comes first, then the lower anchor.

    Args:
      scores: 0..1.
      boxes: `[N, 4]` yxyx as fractions of the image; clipped to it at the end only.
      config: thresholds; the defaults when None.

    Raises:
      MkdError: if there is not a box for each score.
    """
    config = config or PostprocessConfig()
    check_shape("boxes", boxes.shape, (len(scores), 4))
    by_class = scores.T
    alive = by_class >= config.score_threshold
    labels, anchors = np.nonzero(alive)
    # Stable, and nonzero goes by label and then by anchor: that settles the ties.
    order = np.argsort(-by_class[labels, anchors], kind="stable")
    columns = np.ascontiguousarray(boxes.T)
    areas = _areas(columns)
    kept: list[int] = []
    for candidate in order:
        if len(kept) == config.max_detections:
            break
        label, anchor = labels[candidate], anchors[candidate]
        if not alive[label, anchor]:
            continue
        kept.append(candidate)
        box = columns[:, anchor, None]
        corners = np.maximum(columns[:2], box[:2]), np.minimum(columns[2:], box[2:])
        intersection = _areas(np.concatenate(corners))
        union = np.maximum(areas + areas[anchor] - intersection, 1e-12)
        alive[label] &= intersection / union <= config.iou_threshold
    labels, anchors = labels[kept], anchors[kept]
    return Detections(
        np.clip(boxes[anchors], 0, 1).astype("float32"),
        by_class[labels, anchors].astype("float32"),
        labels.astype("int32"),
    )


def probabilities(class_logits: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Returns the sigmoid in float64, in which high scores stay distinct."""
    # Beyond 60 nothing changes in the score, while exp would overflow with a warning.
    return 1.0 / (1.0 + np.exp(-np.clip(class_logits.astype("float64"), -60, 60)))


def batch_detections(
    class_logits: Float[np.ndarray, "batch _ classes"],
    box_encodings: Float[np.ndarray, "_ _ 4"],
    anchors: Float[np.ndarray, "_ 4"],
    config: PostprocessConfig | None = None,
) -> list[Detections]:
    """Returns the detections of every image of a batch.

    Args:
      class_logits: `[B, N, C]`, before the sigmoid.
      box_encodings: `[B, N, 4]` (ty, tx, th, tw).
      anchors: `[N, 4]` (ycenter, xcenter, height, width) as fractions of the image.
      config: thresholds; the defaults when None.

    Raises:
      MkdError: if the numbers of anchors differ.
    """
    count = len(anchors)
    check_shape("anchors", anchors.shape, (count, 4))
    check_shape("class_logits", class_logits.shape, (None, count, None))
    check_shape("box_encodings", box_encodings.shape, (len(class_logits), count, 4))
    decoded = box_math.decode(ops.convert_to_tensor(box_encodings, "float32"), anchors.astype("float32"))
    boxes = ops.convert_to_numpy(decoded)
    return [select(s, b, config) for s, b in zip(probabilities(class_logits), boxes, strict=True)]
