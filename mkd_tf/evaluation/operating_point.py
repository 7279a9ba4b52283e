"""The score threshold to ship: the one with the best F1.

A detection above the threshold is right if it overlaps an object of its class, not
yet taken by a better detection, with an IoU of at least 0.5. Difficult objects and
crowds count neither as found nor as missed; a detection is of a crowd if at least half
of it lies inside, however many do. F1 = 2 TP / (detections + objects), over all classes
together (van Rijsbergen, "Information Retrieval", 1979, with beta 1).
"""

import math
from collections.abc import Sequence

import numpy as np

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.voc import overlaps

OVERLAP = 0.5
_RIGHT, _WRONG, _IGNORED = 1, 0, -1


def _verdicts(truth: Truth, found: Detections) -> np.ndarray:
    """Returns for each detection, best first, whether it is right, wrong or not counted: `[D]`."""
    size = [truth.height, truth.width, truth.height, truth.width]
    verdicts = np.full(len(found), _WRONG)
    if not len(truth.labels) or not len(found):
        return verdicts
    ious, shares = overlaps(found.boxes.astype("float64") * size, truth.boxes)
    # One of many fills too little of the crowd's box for an IoU.
    overlap = np.where(truth.is_crowd, shares, ious)
    ignored, taken = truth.is_difficult | truth.is_crowd, np.zeros(len(truth.labels), bool)
    for i in np.argsort(-found.scores, kind="stable"):
        fits = (truth.labels == found.labels[i]) & (overlap[i] >= OVERLAP) & ~taken
        # What counts comes before what does not, then the larger overlap.
        best = max(np.flatnonzero(fits), key=lambda j: (not ignored[j], overlap[i, j]), default=None)
        if best is not None:
            verdicts[i] = _IGNORED if ignored[best] else _RIGHT
            taken[best] = not truth.is_crowd[best]
    return verdicts


def best_f1(truth: Sequence[Truth], detections: Sequence[Detections]) -> tuple[float, float] | None:
    """Returns the threshold with the best F1, and that F1 in 0..1; None where nothing was found rightly.

    Args:
      truth: one record per image.
      detections: what was found in each, in the same order, boxes as fractions.

    Returns:
      The score at or above which a detection is shown, rounded down to four digits.
    """
    objects = sum(int(np.sum(~(t.is_difficult | t.is_crowd))) for t in truth)
    pairs = list(zip(truth, detections, strict=True))
    scores = np.concatenate([d.scores for _, d in pairs])
    verdicts = np.concatenate([_verdicts(t, d) for t, d in pairs])
    scores, verdicts = scores[verdicts != _IGNORED], verdicts[verdicts != _IGNORED]
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.cumsum(verdicts[order])
    if not len(scores) or not right[-1]:
        return None
    f1 = 2 * right / (np.arange(1, len(scores) + 1) + objects)
    # Equal scores are shown together or not at all: only the last of them is a choice.
    f1[:-1][scores[:-1] == scores[1:]] = 0
    best = int(np.argmax(f1))
    return math.floor(float(scores[best]) * 1e4) / 1e4, float(f1[best])
