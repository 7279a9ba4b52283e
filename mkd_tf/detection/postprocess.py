"""From class logits and box encodings to detections, in NumPy.

The parameters and their meaning are those of the `TFLite_Detection_PostProcess`
op with regular (per-class) non-maximum suppression, so that a Keras model and
its exported file find the same objects.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from mkd_tf.checks import check_shape
from mkd_tf.detection import boxes as box_math
from mkd_tf.detection.types import Bool, Float, Int
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


CHUNK = 128
"""How many candidates are compared with each other at once."""
FEW = 1024
"""How many candidates are sorted first where there are many more."""
Candidates: TypeAlias = tuple[
    Float[np.ndarray, " candidates"], Int[np.ndarray, " candidates"], Int[np.ndarray, " candidates"]
]
"""Scores or logits, labels and anchors."""


def _areas(boxes: np.ndarray) -> np.ndarray:
    """Returns the areas of boxes given by their four columns `[4, ...]`."""
    return np.maximum(boxes[2] - boxes[0], 0) * np.maximum(boxes[3] - boxes[1], 0)


def _suppresses(
    ours: Float[np.ndarray, "4 a"],
    our_labels: Int[np.ndarray, " a"],
    theirs: Float[np.ndarray, "4 b"],
    labels: Int[np.ndarray, " b"],
    iou_threshold: float,
) -> Bool[np.ndarray, "a b"]:
    """Returns which boxes suppress which: those of the same class that overlap by more than the threshold."""
    first, second = ours[:, :, None], theirs[:, None, :]
    corners = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    intersection = _areas(np.concatenate(corners))
    union = np.maximum(_areas(theirs) + _areas(ours)[:, None] - intersection, 1e-12)
    # Not "above": a box that is not a number suppresses and is suppressed.
    return ~(intersection / union <= iou_threshold) & (our_labels[:, None] == labels)


def _greedy(
    labels: Int[np.ndarray, " candidates"],
    columns: Float[np.ndarray, "4 candidates"],
    config: PostprocessConfig,
) -> list[int]:
    """Returns the numbers of the candidates that are kept; they are sorted, best first.

    Chunk by chunk: whatever the boxes kept before suppress is gone, and the rest of the chunk is
    compared with itself at once. What is suppressed is then a matter of bits.
    """
    kept: list[int] = []
    for start in range(0, len(labels), CHUNK):
        rest = np.arange(start, min(start + CHUNK, len(labels)))
        if kept:
            by_kept = _suppresses(
                columns[:, kept], labels[kept], columns[:, rest], labels[rest], config.iou_threshold
            )
            rest = rest[~by_kept.any(axis=0)]
        ours, own = columns[:, rest], labels[rest]
        packed = np.packbits(
            _suppresses(ours, own, ours, own, config.iou_threshold), axis=1, bitorder="little"
        )
        gone = 0
        for i, row in enumerate(packed):
            if gone >> i & 1:
                continue
            kept.append(int(rest[i]))
            if len(kept) == config.max_detections:
                return kept
            gone |= int.from_bytes(row.tobytes(), "little")
    return kept


def _attempts(scores: Float[np.ndarray, "anchors classes"], threshold: float) -> Iterator[Candidates]:
    """Yields scores from a threshold on, their labels and anchors: best first, as `select` orders them.

    Of very many first the best alone, which nearly always are enough; then all.
    """
    by_class = scores.T
    labels, anchors = np.nonzero(by_class >= threshold)
    found = by_class[labels, anchors]
    if len(found) > 2 * FEW:
        least = np.partition(found, -FEW)[-FEW]
        # Very large logits have one score, which only sorting all of them would show.
        if least < 20:
            few = np.flatnonzero(found >= least)
            yield _in_order(found[few], labels[few], anchors[few])
    yield _in_order(found, labels, anchors)


def _in_order(
    scores: Float[np.ndarray, " candidates"],
    labels: Int[np.ndarray, " candidates"],
    anchors: Int[np.ndarray, " candidates"],
) -> Candidates:
    # Stable, and they come by label and then by anchor: that settles the ties.
    order = np.argsort(-scores, kind="stable")
    return scores[order], labels[order], anchors[order]


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
    for found, labels, anchors in _attempts(scores, config.score_threshold):
        result = _detections(found, labels, boxes[anchors], config)
        if len(result) == config.max_detections:
            break
    return result


def _detections(
    scores: Float[np.ndarray, " candidates"],
    labels: Int[np.ndarray, " candidates"],
    boxes: Float[np.ndarray, "candidates 4"],
    config: PostprocessConfig,
) -> Detections:
    """Returns what is kept of candidates, which are sorted."""
    kept = _greedy(labels, np.ascontiguousarray(boxes.T), config)
    return Detections(
        np.clip(boxes[kept], 0, 1).astype("float32"),
        scores[kept].astype("float32"),
        labels[kept].astype("int32"),
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
    config, anchors = config or PostprocessConfig(), anchors.astype("float32")
    return [_of_image(*one, anchors, config) for one in zip(class_logits, box_encodings, strict=True)]


def _of_image(
    class_logits: Float[np.ndarray, "anchors classes"],
    box_encodings: Float[np.ndarray, "anchors 4"],
    anchors: Float[np.ndarray, "anchors 4"],
    config: PostprocessConfig,
) -> Detections:
    """Returns one image's detections; only candidates get a score and a box."""
    for logits, labels, rows in _attempts(class_logits, _logit_below(config.score_threshold)):
        scores = probabilities(logits)
        passed = scores >= config.score_threshold
        scores, labels, rows = scores[passed], labels[passed], rows[passed]
        if np.any((scores[1:] == scores[:-1]) & (logits[passed][1:] != logits[passed][:-1])):
            # Logits that differ may have one score: then label and anchor decide, as in `select`.
            order = np.lexsort((rows, labels, -scores))
            scores, labels, rows = scores[order], labels[order], rows[order]
        result = _detections(scores, labels, decoded(box_encodings[rows], anchors[rows]), config)
        if len(result) == config.max_detections:
            break
    return result


def _logit_below(score: float) -> float:
    """Returns a logit whose score is certainly below `score`."""
    inside = min(max(score, 1e-12), 1 - 1e-12)
    return math.log(inside) - math.log1p(-inside) - 1e-3 if score > 0 else -math.inf


def decoded(
    encodings: Float[np.ndarray, "boxes 4"], anchors: Float[np.ndarray, "boxes 4"]
) -> Float[np.ndarray, "boxes 4"]:
    """Returns boxes yxyx as `boxes.decode` does, in NumPy, which is faster for few boxes.

    Args:
      encodings: (ty, tx, th, tw).
      anchors: (ycenter, xcenter, height, width), one for each.
    """
    encodings = encodings.astype("float32")
    centers, sizes = anchors[:, :2], anchors[:, 2:]
    centers = encodings[:, :2] / box_math.SCALE_CENTER * sizes + centers
    logs = np.clip(encodings[:, 2:] / box_math.SCALE_SIZE, -box_math.MAX_LOG_SIZE, box_math.MAX_LOG_SIZE)
    halves = np.exp(logs) * sizes / 2
    return np.concatenate([centers - halves, centers + halves], axis=1)
