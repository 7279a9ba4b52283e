"""Thresholds of the file that ships: the highest score threshold that costs next to no AP.

AP counts detections down to a score of 0.01, which no client shows, and their suppression
may take longer than the network. With greedy suppression a file of a higher threshold, or of
fewer detections, returns exactly the first part of what it returned before, so every choice is
judged on detections that were made once.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from mkd_tf.detection.postprocess import Detections
from mkd_tf.evaluation.coco import MAX_DETECTIONS, Truth, coco_metrics
from mkd_tf.options import DEFAULT_SCORE, LOWEST_SCORE
from mkd_tf.schemas.deployment import Shipped
from mkd_tf.schemas.training import OperatingPoint

LARGEST_COST = 0.1
"""Points of AP that thresholds chosen here may cost on each set."""
COUNTS = (25, 50, MAX_DETECTIONS)
"""Largest numbers of detections to choose from: a device has scratch memory for each of them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What a file finds in a set of images, at the lowest threshold.

    Attributes:
      truth: one record per image.
      detections: of each image, best first.
      ap: of all of them, in percent; None where it cannot be measured.
    """

    truth: Sequence[Truth]
    detections: Sequence[Detections]
    ap: float | None


def first(found: Detections, threshold: float, count: int) -> Detections:
    """Returns what a file of this threshold and largest number of detections returns."""
    # The operator compares in float32.
    kept = found.above(float(np.float32(threshold)))
    return Detections(kept.boxes[:count], kept.scores[:count], kept.labels[:count])


def _ap(found: Found, names: Sequence[str], threshold: float, count: int) -> float | None:
    some = [first(x, threshold, count) for x in found.detections]
    return coco_metrics(found.truth, some, names)["AP"]


def _cost(sets: Sequence[Found], names: Sequence[str], threshold: float, count: int) -> float:
    costs = [0.0]
    for found in sets:
        if found.ap is not None:
            costs.append(found.ap - (_ap(found, names, threshold, count) or 0.0))
        if costs[-1] > LARGEST_COST:
            break
    return max(costs)


def choose_threshold(
    sets: Sequence[Found], names: Sequence[str], point: OperatingPoint | None, count: int
) -> tuple[float, float]:
    """Returns the highest threshold, in hundredths, that costs at most `LARGEST_COST` on each set.

    Args:
      sets: what the file finds at `LOWEST_SCORE`; the validation and the evaluation split.
      names: of the classes.
      point: the operating point, which the threshold is not above; `DEFAULT_SCORE` where None.
      count: the largest number of detections that the file will return.

    Returns:
      The threshold and what it costs, in points of AP. That is more than `LARGEST_COST` only where
      `count` alone costs as much; the threshold is then `LOWEST_SCORE`.
    """
    highest = DEFAULT_SCORE if point is None else point["value"]
    low, high = round(LOWEST_SCORE * 100), max(round(LOWEST_SCORE * 100), math.floor(highest * 100))
    cost = _cost(sets, names, low / 100, count)
    if cost > LARGEST_COST:
        return LOWEST_SCORE, cost
    # The cost does not fall with the threshold: it removes the end of each ranking.
    while low < high:
        middle = (low + high + 1) // 2
        at_middle = _cost(sets, names, middle / 100, count)
        if at_middle <= LARGEST_COST:
            low, cost = middle, at_middle
        else:
            high = middle - 1
    return low / 100, cost


def shipped(
    suppression: tuple[float | None, int | None],
    sets: Sequence[Found],
    names: Sequence[str],
    point: OperatingPoint | None,
) -> Shipped:
    """Returns the thresholds of the file that ships, and what it reaches.

    Args:
      suppression: of `Format.suppression`; a threshold or number of None is chosen here.
      sets: as for `choose_threshold`; the evaluation split in the trained fit is the first.
      names: of the classes.
      point: the operating point.
    """
    given, most = suppression
    # A threshold that was given may cost more by itself, which more detections do not mend.
    allowed = LARGEST_COST + (0.0 if given is None else _cost(sets, names, given, MAX_DETECTIONS))
    threshold, cost, count = LOWEST_SCORE, 0.0, MAX_DETECTIONS
    for count in COUNTS if most is None else (min(most, MAX_DETECTIONS),):
        if given is None:
            threshold, cost = choose_threshold(sets, names, point, count)
        else:
            threshold, cost = given, _cost(sets, names, given, count)
        if cost <= allowed:
            break
    ap = _ap(sets[0], names, threshold, count)
    return {"score_threshold": threshold, "max_detections": count, "AP": ap, "cost": max(cost, 0.0)}
