"""What a network finds: from a score threshold on, in a number of detections, or at a precision.

Scores of two networks do not mean the same: one that was distilled may find more and be less
confident. Networks are compared each at its own operating point, at equal numbers of
detections or at equal precision, never at a common score.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mkd_tf.checks import fail
from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import Truth
from mkd_tf.evaluation.matching import Ranking
from mkd_tf.evaluation.operating_point import OVERLAP
from mkd_tf.schemas.training import Found


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """Which objects are found, by how many detections.

    Attributes:
      objects: `[N]` bool, whether each object that counts is found, image after image.
      threshold: least score of the detections; None without one.
      detections: how many there are; those of difficult objects and crowds do not count.
      precision: how many of them are right, in 0..1; None without one.
    """

    objects: np.ndarray
    threshold: float | None
    detections: int
    precision: float | None

    def record(self) -> Found:
        """Returns plain numbers for `results.json`."""
        return {
            "found": int(np.sum(self.objects)),
            "threshold": self.threshold,
            "detections": self.detections,
            "precision": self.precision,
        }


def found(
    detections: Sequence[Detections],
    truth: Sequence[Truth],
    *,
    threshold: float | None = None,
    count: int | None = None,
    precision: float | None = None,
    iou: float = OVERLAP,
) -> Finding:
    """Returns what the best detections of a split find; see `found_in` for how many take part.

    Args:
      detections: what was detected in each image, boxes as fractions.
      truth: one record per image, in the same order.
      threshold, count, precision: as in `found_in`.
      iou: least overlap of a detection with the object that it finds.

    Raises:
      MkdError: unless exactly one of the three is given.
    """
    ranking = Ranking.of(truth, detections, iou)
    return found_in(ranking, threshold=threshold, count=count, precision=precision)


def found_in(
    ranking: Ranking,
    *,
    threshold: float | None = None,
    count: int | None = None,
    precision: float | None = None,
) -> Finding:
    """Returns what the best detections of a ranking find.

    Args:
      ranking: the detections of a split.
      threshold: all detections of at least this score take part.
      count: the best `count` take part, or all where there are fewer.
      precision: as many take part as can with at least this precision, equal scores together.

    Raises:
      MkdError: unless exactly one of the three is given.
    """
    right = np.cumsum(ranking.owners >= 0)
    if [threshold, count, precision].count(None) != 2:
        given = f"threshold={threshold}, count={count}, precision={precision}"
        fail("found", expected="a threshold, a count or a precision", got=given, do="Give one of them.")
    number = 0
    if threshold is not None:
        number = int(np.sum(ranking.scores >= threshold))
    elif count is not None:
        number = min(count, len(right))
    elif precision is not None:
        # But for rounding: the precision is often that of another network, which equals this one's.
        least = precision * np.arange(1, len(right) + 1) - 1e-9
        enough = (right >= least) & ranking.last_of_equals()
        number = int(np.max(np.flatnonzero(enough), initial=-1)) + 1
    objects = np.zeros(len(ranking.object_labels), bool)
    owners = ranking.owners[:number]
    objects[owners[owners >= 0]] = True
    if threshold is None and number:
        threshold = float(ranking.scores[number - 1])
    return Finding(objects, threshold, number, float(right[number - 1] / number) if number else None)
