"""A detector's operating point: the score threshold with the best F1, from which on detections are shown.

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
from mkd_tf.evaluation.matching import Ranking
from mkd_tf.options import DEFAULT_SCORE
from mkd_tf.schemas.training import OperatingPoint

OVERLAP = 0.5
CHOSEN = "best F1 at IoU 0.5 on the validation split"


def best_f1(truth: Sequence[Truth], detections: Sequence[Detections]) -> tuple[float, float] | None:
    """Returns the threshold with the best F1, and that F1 in 0..1; None without a right detection.

    Args:
      truth: one record per image.
      detections: what was found in each, in the same order, boxes as fractions.

    Returns:
      The score at or above which a detection is shown, rounded down to four digits.
    """
    return _best(Ranking.of(truth, detections, OVERLAP))


def operating_point(
    truth: Sequence[Truth], detections: Sequence[Detections], class_names: Sequence[str]
) -> OperatingPoint | None:
    """Returns the threshold of `best_f1` over all classes together, and that of each class beside it.

    Args:
      truth: one record per image of the validation split.
      detections: what was found in each, in the same order, boxes as fractions.
      class_names: the C names, in the order of the labels.

    Returns:
      None without a right detection; a class without one has the threshold None.
    """
    ranking = Ranking.of(truth, detections, OVERLAP)
    best = _best(ranking)
    if best is None:
        return None
    each = {name: _best(ranking, label) for label, name in enumerate(class_names)}
    per_class = {name: None if found is None else found[0] for name, found in each.items()}
    return {"value": best[0], "f1": best[1], "chosen": CHOSEN, "per_class": per_class}


def default_point(reason: str) -> OperatingPoint:
    """Returns the point of a detector that has none of its own; `reason` says why."""
    return {"value": DEFAULT_SCORE, "f1": 0.0, "chosen": f"a default: {reason}", "per_class": {}}


def _best(ranking: Ranking, label: int | None = None) -> tuple[float, float] | None:
    """Returns threshold and F1 over all classes, or of one."""
    mine = np.full(len(ranking.scores), True) if label is None else ranking.labels == label
    objects = len(ranking.object_labels) if label is None else np.sum(ranking.object_labels == label)
    scores, right = ranking.scores[mine], np.cumsum(ranking.owners[mine] >= 0)
    if not len(scores) or not right[-1]:
        return None
    f1 = 2 * right / (np.arange(1, len(scores) + 1) + objects)
    # Equal scores are shown together or not at all: only the last of them is a choice.
    f1[:-1][scores[:-1] == scores[1:]] = 0
    best = int(np.argmax(f1))
    return math.floor(float(scores[best]) * 1e4) / 1e4, float(f1[best])
