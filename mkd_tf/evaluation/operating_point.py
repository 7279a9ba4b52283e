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
from mkd_tf.evaluation.matching import take_objects

OVERLAP = 0.5
_RIGHT, _WRONG, _IGNORED = 1, 0, -1


def _verdicts(truth: Truth, found: Detections) -> np.ndarray:
    """Returns for each detection whether it is right, wrong or not counted: `[D]`."""
    taken = take_objects(truth, found, OVERLAP)
    # A last entry for the -1 of detections that take nothing.
    verdicts = np.append(np.where(truth.is_difficult | truth.is_crowd, _IGNORED, _RIGHT), _WRONG)
    return verdicts[taken]


def best_f1(truth: Sequence[Truth], detections: Sequence[Detections]) -> tuple[float, float] | None:
    """Returns the threshold with the best F1, and that F1 in 0..1; None without a right detection.

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
